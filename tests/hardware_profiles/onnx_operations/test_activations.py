"""Activations over their whole range: ONNX Runtime against torch."""

import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from tests.contracts.inputs import one_input
from tests.contracts.onnx_parity import assert_emitted


class Scaled(nn.Module):
    """An activation of numbers far from zero, too."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def forward(self, inputs):
        return self.activation(inputs * 6.0)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Hardtanh(-2.5, 3.0),
        nn.SiLU(),
        nn.GELU(),
        nn.GELU(approximate="tanh"),
        nn.LeakyReLU(0.3),
        nn.ELU(0.7),
        nn.Softplus(),
        nn.Softplus(beta=2.0, threshold=1.0),
        nn.Softplus(beta=0.5),
        nn.Mish(),
        nn.Softmax(1),
        nn.Softmax(-1),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 5)], ids=str)
def test_activations(activation, shape):
    assert_emitted(Scaled(activation), shape)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.Mish(), nn.Softplus(), nn.GELU("tanh")])
def test_small_numbers_keep_their_digits(activation):
    values = torch.linspace(-30, 30, 601)[None]
    model = emitted_model(nn.Sequential(activation), one_input(601))
    from hardware_profiles.profile_device import onnx_session

    (found,) = onnx_session(model.SerializeToString()).run(None, {"input": values.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), activation(values), rtol=1e-5, atol=1e-6)


def test_softmax_over_an_unnamed_dimension_is_refused():
    with pytest.raises(UnknownOperationError, match="dimension"):
        emitted_model(nn.Sequential(nn.Softmax()), one_input(4))

"""Emission of what networks on sequences are made of: reductions, joins and parts."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from search_spaces import TensorSpec
from tests.contracts.onnx_parity import assert_same_in_onnx, with_statistics

SPEC = {"input": TensorSpec((6, 10), free=(1,))}


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


def sequences(batch: int, seed: int) -> tuple[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (1 + 3 * torch.randn(batch, 6, 10, generator=generator),)


def assert_same(module: nn.Module) -> list[str]:
    """Compare, and return the operations of the file."""
    model = assert_same_in_onnx(module.eval(), SPEC, sequences, ["output"])
    return [node.op_type for node in model.graph.node]


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(2),
    "mean that stays": lambda x: x.mean(2, keepdim=True),
    "mean by name": lambda x: x.mean(dim=1),
    "mean of two": lambda x: x.mean((1, 2)),
    "sum": lambda x: x.sum(2),
    "sum that stays": lambda x: x.sum(dim=-1, keepdim=True),
    "sum of two": lambda x: x.sum([1, 2]),
    "difference": lambda x: x - x.mean(2, keepdim=True),
    "difference of a mean": lambda x: x.mean(2, keepdim=True) - x,
    "root": lambda x: x.clamp(min=0.25).sqrt(),
    "clamp from above": lambda x: x.clamp(max=0.5),
    "clamp": lambda x: x.clamp(min=-0.5, max=0.5),
    "join": lambda x: torch.cat([x, x.mean(2, keepdim=True)], dim=2),
    "join by position": lambda x: torch.cat((x, x * x), 1),
    "join of batches' features": lambda x: torch.cat([x, x, x], dim=-2),
    "part": lambda x: x.narrow(1, 2, 3),
    "first part": lambda x: x.narrow(2, 0, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert_same(Calls(FUNCTIONS[name]))


@pytest.mark.parametrize(
    "module", [nn.Sigmoid(), nn.Tanh(), nn.Softmax(dim=2), nn.Softmax(dim=1)], ids=str
)
def test_activations(module):
    assert_same(nn.Sequential(module))


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 2)])
def test_convolutions_over_time_take_their_norm_in(kernel, dilation):
    padding = dilation * (kernel // 2)
    module = nn.Sequential(
        nn.Conv1d(6, 4, kernel, padding=padding, dilation=dilation, bias=False), nn.BatchNorm1d(4)
    )
    assert assert_same(with_statistics(module, sequences)) == ["Conv", "Identity"]


def test_norms_after_an_activation_stay():
    module = nn.Sequential(nn.Conv1d(6, 4, 1, bias=False), nn.ReLU(inplace=True), nn.BatchNorm1d(4))
    operations = assert_same(with_statistics(module, sequences))
    assert operations == ["Conv", "Relu", "BatchNormalization", "Identity"]


def test_norms_of_vectors():
    module = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.BatchNorm1d(6))
    assert_same(with_statistics(module, sequences))


REFUSED: dict[str, nn.Module] = {
    "mean of all": Calls(lambda x: x.mean()),
    "mean of another type": Calls(lambda x: x.mean(2, dtype=torch.float64)),
    "keepdim by position": Calls(lambda x: x.sum(2, True)),
    "clamp by position": Calls(lambda x: x.clamp(0.5)),
    "clamp by a tensor": Calls(lambda x: x.clamp(min=x.mean(2, keepdim=True))),
    "part by name": Calls(lambda x: x.narrow(dim=1, start=0, length=2)),
    "softmax of no dimension": nn.Sequential(nn.Softmax()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_forms_are_refused(name):
    with pytest.raises(UnknownOperationError, match="no ONNX emission for"):
        emitted_model(REFUSED[name].eval(), SPEC, outputs=["output"])

"""Norms of samples: ONNX Runtime against torch."""

import pytest
from torch import nn

from hardware_profiles.onnx_graph import emitted_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec
from tests.contracts.inputs import random_inputs
from tests.contracts.onnx_parity import assert_emitted
from tests.contracts.supernet_contract import randomise


@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 4, 3), (6, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("settings", [(1, 1e-5, True), (2, 0.1, True), (3, 1e-5, False)], ids=str)
def test_group_norms(shape, settings):
    groups, eps, affine = settings
    module = nn.Sequential(nn.GroupNorm(groups, 6, eps, affine))
    randomise(module, seed=0)
    assert_emitted(module, shape)


def test_group_norms_of_free_sizes():
    module = nn.Sequential(nn.GroupNorm(2, 4)).eval()
    model = emitted_model(module, {"input": TensorSpec((4, 10), free=(1,))})
    session = onnx_session(model.SerializeToString())
    for frames in (3, 10, 17):
        (given,) = random_inputs({"input": TensorSpec((4, frames))}, 2, seed=frames)
        (found,) = session.run(None, {"input": given.numpy()})
        assert abs(found - module(given).detach().numpy()).max() < 1e-5


@pytest.mark.parametrize("sizes", [(5,), (4, 5)], ids=str)
@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"elementwise_affine": False}], ids=str)
def test_layer_norms(sizes, settings):
    module = nn.Sequential(nn.LayerNorm(sizes, 0.01, **settings))
    randomise(module, seed=0)
    assert_emitted(module, (3, 4, 5))

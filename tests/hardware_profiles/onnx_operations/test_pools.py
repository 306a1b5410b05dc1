import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.onnx_operations import UnknownOperationError
from search_spaces import TensorSpec
from search_spaces.layer_modules import layer_module
from tests.contracts.onnx_parity import assert_images_agree, operations
from tests.search_spaces.layer_modules.test_residual import SPECS

SHAPE = (3, 9, 6)  # height is not width


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": 2, "ceil_mode": True},
        {"kernel_size": (2, 3), "stride": (3, 1)},
        {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 4, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    ],
    ids=str,
)  # fmt: skip
def test_average_pools(settings):
    model = assert_images_agree(nn.Sequential(nn.AvgPool2d(**settings)), SHAPE)
    assert operations(model) == ["AveragePool"]


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "ceil_mode": True},
        {"kernel_size": (2, 3), "stride": (3, 1), "dilation": (1, 2)},
    ],
    ids=str,
)
def test_max_pools(settings):
    model = assert_images_agree(nn.Sequential(nn.MaxPool2d(**settings)), SHAPE)
    assert operations(model) == ["MaxPool"]


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, divisor_override=3),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
    ],
    ids=str,
)
def test_other_pools_are_refused(pool):
    with pytest.raises(UnknownOperationError, match="no ONNX emission for"):
        onnx_model(nn.Sequential(pool), {"input": TensorSpec(SHAPE)})


@pytest.mark.parametrize("kind", sorted({spec.kind for spec in SPECS}))
def test_residual_layers_compute_the_same(kind):
    specs = [spec for spec in SPECS if spec.kind == kind]
    for spec in specs[:: max(1, len(specs) // 8)]:
        assert_images_agree(nn.Sequential(layer_module(spec)), spec.inputs[0].shape)

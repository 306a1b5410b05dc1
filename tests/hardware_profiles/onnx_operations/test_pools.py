"""Pools, and the layers of residual networks: ONNX Runtime against torch."""

from functools import partial

import pytest
from torch import nn

from hardware_profiles.onnx_graph import emitted_model
from hardware_profiles.onnx_operations import UnknownOperationError
from search_spaces import TensorSpec
from search_spaces.layer_modules import layer_module
from tests.contracts.inputs import one_input, random_images
from tests.contracts.onnx_parity import (
    assert_emitted,
    assert_same_in_onnx,
    operations,
    with_statistics,
)
from tests.contracts.supernet_contract import randomise
from tests.search_spaces.layer_modules.test_residual import SPECS

SHAPE = (3, 11, 8)  # height is not width


def assert_same(module, shape=SHAPE):
    """Compare at random weights and statistics; return the operations of the file."""
    randomise(module, seed=0)
    draw = partial(random_images, shape=shape)
    return operations(assert_same_in_onnx(with_statistics(module, draw), one_input(*shape), draw))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        (2, None, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (4, None, 1), ((2, 3), (3, 1), 0),
        ((3, 2), (1, 3), (1, 0)), (3, None, 0), (5, 2, 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_average_pools(kernel, stride, padding, ceil_mode, count_include_pad):
    pool = nn.Sequential(nn.AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad))
    if ceil_mode and count_include_pad and padding != 0:
        with pytest.raises(UnknownOperationError, match="padding"):
            emitted_model(pool.eval(), one_input(*SHAPE))
    else:
        assert assert_same(pool) == ["AveragePool"]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        (3, 1, 1, 1), (3, 2, 1, 1), (2, None, 0, 1), ((3, 2), (1, 3), (1, 0), 1), (3, 2, 1, 2),
        ((2, 3), (3, 1), 0, (1, 2)),
    ],
)  # fmt: skip
def test_max_pools(kernel, stride, padding, dilation, ceil_mode):
    pool = nn.Sequential(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode))
    assert assert_same(pool) == ["MaxPool"]


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
        emitted_model(nn.Sequential(pool), one_input(*SHAPE))


SIGNAL = (3, 12)  # channels and frames


@pytest.mark.parametrize(
    ("pool", "shape", "operation"),
    [
        (nn.AdaptiveAvgPool2d(1), SHAPE, "GlobalAveragePool"),
        (nn.AdaptiveAvgPool2d((1, None)), SHAPE, "AveragePool"),
        (nn.AdaptiveAvgPool2d((11, 2)), SHAPE, "AveragePool"),
        (nn.AdaptiveAvgPool2d(4), (3, 8, 12), "AveragePool"),
        (nn.AdaptiveMaxPool2d(1), SHAPE, "GlobalMaxPool"),
        (nn.AdaptiveMaxPool2d((1, 4)), SHAPE, "MaxPool"),
        (nn.AdaptiveAvgPool1d(1), SIGNAL, "GlobalAveragePool"),
        (nn.AdaptiveAvgPool1d(4), SIGNAL, "AveragePool"),
        (nn.AdaptiveMaxPool1d(3), SIGNAL, "MaxPool"),
        (nn.AvgPool1d(3, 2, 1), SIGNAL, "AveragePool"),
        (nn.AvgPool1d(2, ceil_mode=True, count_include_pad=False), (3, 11), "AveragePool"),
        (nn.MaxPool1d(3, 2, 1), SIGNAL, "MaxPool"),
        (nn.MaxPool1d(2, dilation=2, ceil_mode=True), SIGNAL, "MaxPool"),
    ],
    ids=str,
)
def test_pools_of_signals_and_of_whole_parts(pool, shape, operation):
    assert operations(assert_emitted(pool, shape)) == [operation]


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AdaptiveAvgPool2d(4), (3, 8, 10)),
        (nn.AdaptiveAvgPool2d((5, None)), SHAPE),
        (nn.AdaptiveAvgPool2d((13, 3)), SHAPE),
        (nn.AdaptiveAvgPool1d(5), SIGNAL),
    ],
    ids=str,
)
def test_averages_of_unequal_windows(pool, shape):
    assert set(operations(assert_emitted(pool, shape))) == {"MatMul"}


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AdaptiveMaxPool2d(4), (3, 8, 10)),
        (nn.AdaptiveMaxPool2d(1, return_indices=True), SHAPE),
        (nn.AdaptiveAvgPool2d(1), SIGNAL),  # to torch an image without a batch
    ],
    ids=str,
)
def test_pools_of_unequal_windows_are_refused(pool, shape):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(nn.Sequential(pool), one_input(*shape))


def test_pools_of_free_sizes_are_refused_unless_they_take_all():
    free = {"input": TensorSpec(SIGNAL, free=(1,))}
    emitted_model(nn.Sequential(nn.AdaptiveAvgPool1d(1)), free)
    with pytest.raises(UnknownOperationError, match="equal sizes"):
        emitted_model(nn.Sequential(nn.AdaptiveAvgPool1d(2)), free)


@pytest.mark.parametrize("kind", sorted({spec.kind for spec in SPECS}))
def test_residual_layers_compute_the_same(kind):
    specs = [spec for spec in SPECS if spec.kind == kind]
    for spec in specs[:: max(1, len(specs) // 8)]:
        assert_same(nn.Sequential(layer_module(spec)), spec.inputs[0].shape)

"""Images of another size: ONNX Runtime against torch."""

import pytest
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from search_spaces import TensorSpec
from tests.contracts.inputs import one_input
from tests.contracts.onnx_parity import assert_emitted, operations

SHAPE = (2, 6, 9)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_factor": 2},
        {"scale_factor": (3.0, 2.0)},
        {"size": (12, 27)},
        {"size": (1, 1)},
        {"size": (7, 20)},
        {"size": (4, 5)},
        {"scale_factor": 0.5},
        {"scale_factor": (1.5, 1.0)},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "mode", [("nearest", None), ("bilinear", False), ("bilinear", True)], ids=str
)
def test_images_are_sampled_as_by_torch(settings, mode):
    kind, align_corners = mode
    module = nn.Sequential(nn.Upsample(**settings, mode=kind, align_corners=align_corners))
    assert_emitted(module, SHAPE)


@pytest.mark.parametrize(
    ("mode", "shape"), [("nearest", (2, 7)), ("linear", (2, 7)), ("nearest", (2, 3, 4, 5))]
)
def test_signals_and_volumes(mode, shape):
    for factor in (2, 3):
        module = nn.Sequential(nn.Upsample(scale_factor=factor, mode=mode))
        assert operations(assert_emitted(module, shape)) == ["Resize"]


def test_every_size_that_nearest_neighbours_may_have():
    for size in (2, 3, 5, 8, 11, 13, 17, 29):
        assert_emitted(nn.Sequential(nn.Upsample(size, mode="nearest")), (1, 10, 7))


def test_whole_factors_hold_for_free_sizes_others_are_refused():
    free = {"input": TensorSpec((2, 8), free=(1,))}
    emitted_model(nn.Sequential(nn.Upsample(scale_factor=2)), free)
    for settings in ({"scale_factor": 1.5}, {"size": 12}):
        with pytest.raises(UnknownOperationError, match="sizes that do not change"):
            emitted_model(nn.Sequential(nn.Upsample(**settings)), free)


@pytest.mark.parametrize(
    "module",
    [
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Upsample(scale_factor=2, mode="nearest-exact"),
    ],
    ids=str,
)
def test_other_ways_are_refused(module):
    with pytest.raises(UnknownOperationError, match="only nearest and linear"):
        emitted_model(nn.Sequential(module), one_input(*SHAPE))

"""Convolutions of all ranks, transposed ones, and norms: ONNX Runtime against torch."""

import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from tests.contracts.inputs import one_input
from tests.contracts.onnx_parity import assert_emitted, operations
from tests.contracts.supernet_contract import randomise

SHAPES = {1: (4, 9), 2: (4, 9, 7), 3: (4, 5, 6, 7)}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def randomized(*layers):
    """Random weights, statistics that no batch has."""
    module = nn.Sequential(*layers)
    randomise(module, seed=0)
    generator = torch.Generator().manual_seed(1)
    for layer in layers:
        if isinstance(layer, tuple(NORMS.values())):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return module.eval()


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1, "bias": False},
        {"groups": 2, "dilation": 2, "padding": 2},
        {"groups": 4, "padding": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("affine", [None, True, False], ids=["alone", "normed", "no weights"])
def test_convolutions(axes, settings, affine):
    norms = [] if affine is None else [NORMS[axes](8, affine=affine, eps=0.01)]
    module = randomized(CONVOLUTIONS[axes](4, 8, 3, **settings), *norms)
    assert operations(assert_emitted(module, SHAPES[axes])) == ["Conv"]


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "bias": False},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"groups": 2, "dilation": 2, "padding": 2},
        {"groups": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("affine", [None, True, False], ids=["alone", "normed", "no weights"])
def test_transposed_convolutions(axes, settings, affine):
    norms = [] if affine is None else [NORMS[axes](8, affine=affine, eps=0.01)]
    module = randomized(TRANSPOSED[axes](4, 8, 3, **settings), *norms)
    assert operations(assert_emitted(module, SHAPES[axes])) == ["ConvTranspose"]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (4,)), *((NORMS[axes], SHAPES[axes]) for axes in NORMS)]
)
def test_norms_alone(kind, shape, affine):
    module = randomized(kind(4, affine=affine, eps=0.01))
    assert operations(assert_emitted(module, shape)) == ["BatchNormalization"]


def test_norms_of_each_batch_are_refused():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    for module in (nn.Sequential(norm), nn.Sequential(nn.Conv2d(4, 4, 1), norm)):
        with pytest.raises(UnknownOperationError, match="statistics"):
            emitted_model(module.eval(), one_input(*SHAPES[2]))


def test_stated_sizes_of_transposed_convolutions_are_refused():
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.ConvTranspose2d(4, 4, 3, 2)

        def forward(self, inputs):
            return self.layer(inputs, [20, 16])

    with pytest.raises(UnknownOperationError, match="no size"):
        emitted_model(Sized().eval(), one_input(*SHAPES[2]))

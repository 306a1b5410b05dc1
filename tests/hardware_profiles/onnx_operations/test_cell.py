"""Layers of cells, and the operations they brought, as ONNX files against torch."""

import itertools
import operator
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import LayerSpec, TensorSpec
from search_spaces.layer_modules import layer_module
from search_spaces.layer_modules.cell import CELLS, OPERATIONS
from tests.contracts.elastic_contract import alone
from tests.contracts.inputs import random_inputs
from tests.contracts.onnx_parity import assert_same_in_onnx, with_statistics
from tests.contracts.supernet_contract import randomise

SIZE = {"height": 8, "width": 6}
PAIR = {"in_channels": 4, "out_channels": 6}
CHANNELS = {"channels": 4}


class Calls(nn.Module):
    """Runs a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


def assert_same(module, *specs):
    """Compare at random weights and statistics."""
    randomise(module, seed=0)
    inputs = {f"input{i}": spec for i, spec in enumerate(specs)}
    draw = partial(random_inputs, inputs)
    assert_same_in_onnx(with_statistics(module, draw), inputs, draw)


SPECS = [
    *(
        LayerSpec.of("cell_operation", {**CHANNELS, **SIZE, "operation": name, "stride": stride})
        for name, stride in itertools.product(OPERATIONS, (1, 2))
        if name != "none" and (name, stride) != ("skip_connect", 1)
    ),
    LayerSpec.of("relu_conv_norm", {**PAIR, **SIZE, "kernel": 3, "stride": 2}),
    LayerSpec.of("factorized_reduce", {**PAIR, **SIZE}),
    LayerSpec.of("reduction_block", {**PAIR, **SIZE}),
    LayerSpec.of("norm_relu", {**CHANNELS, **SIZE}),
    *(
        LayerSpec.of(kind, {**CHANNELS, **SIZE, "num_inputs": n})
        for kind, n in [*itertools.product(("sum", "concat"), (2, 4)), ("concat", 1)]
    ),
]


@pytest.mark.parametrize("kind", CELLS)
def test_every_kind_computes_the_same(kind):
    specs = [spec for spec in SPECS if spec.kind == kind]
    assert specs
    for spec in specs:
        assert_same(alone(spec, layer_module(spec)), *spec.inputs)


def test_none_is_zero():
    spec = LayerSpec.of("cell_operation", {**CHANNELS, **SIZE, "operation": "none", "stride": 1})
    model = emitted_model(alone(spec, layer_module(spec)), {"input1": spec.inputs[0]})
    images = np.ones((3, *spec.inputs[0].shape), dtype=np.float32)
    (found,) = onnx_session(model.SerializeToString()).run(None, {"input1": images})
    np.testing.assert_array_equal(found, np.zeros_like(images))


IMAGE = TensorSpec((3, 11, 8))


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, :, 1:, 1:],
        lambda x: x[:, 1:2],
        lambda x: x[:, :, -3:-1, ::2],
        lambda x: x[:, :, :100] + 0.5,
        lambda x: x[:] * 2,
        lambda x: torch.cat((x, x[:, 1:]), 1),
        lambda x: torch.cat([x, x], dim=-1),
    ],
)
def test_cuts_and_joins(cut):
    assert_same(Calls(cut), IMAGE)


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, None],
        lambda x: x[..., 1:],
        lambda x: operator.getitem(x, (slice(None), [0, 2])),
        lambda x: torch.cat([x, x], axis=1),
    ],
)
def test_other_indices_are_refused(cut):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(Calls(cut).eval(), {"input": IMAGE})

"""Layers of cells, and the operations they brought, as ONNX files against torch."""

import itertools
import operator

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import LayerSpec, TensorSpec
from search_spaces.layer_modules import layer_module
from search_spaces.layer_modules.cell import CELLS, OPERATIONS
from search_spaces.layer_slot import Network, NetworkLayer
from search_spaces.supernet import assemble

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


def randomise(module):
    """Draw all weights and statistics: fresh norms would hide faults."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.5)
    return module.eval()


def assert_same(module, *specs):
    """Compare the emitted file with the module at batch 1 and 3."""
    inputs = {f"input{i}": spec for i, spec in enumerate(specs)}
    module = randomise(module)
    model = onnx_model(module, inputs)
    onnx.checker.check_model(model, full_check=True)
    session = onnx_session(model.SerializeToString())
    for batch in (1, 3):
        given = [torch.randn(batch, *spec.shape) for spec in specs]
        with torch.no_grad():
            expected = module(*given).numpy()
        feeds = {name: tensor.numpy() for name, tensor in zip(inputs, given, strict=True)}
        (found,) = session.run(["logits"], feeds)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    return [node.op_type for node in model.graph.node]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


SPECS = [
    *(
        LayerSpec.of("cell_operation", {**CHANNELS, **SIZE, "operation": name, "stride": stride})
        for name, stride in itertools.product(OPERATIONS, (1, 2))
        if (name, stride) not in {("skip_connect", 1), ("none", 2)}
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
        names = [f"input{i}" for i in range(len(spec.inputs))]
        layer = NetworkLayer("layer", spec, tuple(names))
        network = Network(dict(zip(names, spec.inputs, strict=True)), (layer,), {"output": "layer"})
        assert_same(assemble(network, {"layer": layer_module(spec)}), *spec.inputs)


IMAGE = TensorSpec((3, 11, 8))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (2, 2, 0), ((3, 2), (1, 3), (1, 0)), (3, None, 0), (5, 2, 2)],
)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_average_pools(kernel, stride, padding, ceil_mode, count_include_pad):
    pool = nn.AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad)
    if ceil_mode and count_include_pad and padding != 0:
        with pytest.raises(UnknownOperationError, match="padding"):
            onnx_model(pool.eval(), {"input": IMAGE})
    else:
        assert_same(pool, IMAGE)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (2, None, 0, 1), ((3, 2), (1, 3), (1, 0), 1), (3, 2, 1, 2)],
)
def test_max_pools(kernel, stride, padding, dilation, ceil_mode):
    assert_same(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode), IMAGE)


def test_pools_that_give_more_are_refused():
    for pool in (nn.MaxPool2d(2, return_indices=True), nn.AvgPool2d(2, divisor_override=3)):
        with pytest.raises(UnknownOperationError, match="only"):
            onnx_model(pool.eval(), {"input": IMAGE})


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
        onnx_model(Calls(cut).eval(), {"input": IMAGE})

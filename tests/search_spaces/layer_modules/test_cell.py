"""Formulas of the layers of cells against counts on their plain modules."""

import itertools

import pytest
import torch
from torch import nn

from search_spaces import LayerSpec
from search_spaces.layer_kinds.cell import CELLS
from search_spaces.layer_modules import layer_module, parameter_shapes
from search_spaces.layer_modules.cell import OPERATIONS
from tests.contracts.elastic_contract import assert_formulas_equal_counts

SIZE = {"height": 10, "width": 6}


def operation(name, **fields):
    return LayerSpec.of("cell_operation", {**SIZE, "operation": name} | fields)


SPECS = [
    *(
        operation(name, channels=channels, stride=stride)
        for name, channels, stride in itertools.product(OPERATIONS, (2, 5, 16), (1, 2))
        if (name, stride) not in {("skip_connect", 1), ("none", 2)}
    ),
    *(
        operation(name, channels=4, stride=stride, height=9, width=1)
        for name, stride in itertools.product(set(OPERATIONS) - {"skip_connect"}, (1, 2))
        if (name, stride) != ("none", 2)
    ),
    *(
        LayerSpec.of(
            "relu_conv_norm",
            {"in_channels": source, "out_channels": result, "kernel": kernel, "stride": stride,
             "height": 9, "width": 4},
        )
        for source, result, kernel, stride in itertools.product((1, 6), (2, 16), (1, 3), (1, 2))
    ),
    *(
        LayerSpec.of(kind, {"in_channels": source, "out_channels": result, **SIZE})
        for kind, source, result in itertools.product(
            ("factorized_reduce", "reduction_block"), (1, 4, 30), (2, 7, 60)
        )
    ),
    *(
        LayerSpec.of(kind, {"channels": 3, "num_inputs": num_inputs, **SIZE})
        for kind, num_inputs in [*itertools.product(("sum", "concat"), (2, 3, 5)), ("concat", 1)]
    ),
    LayerSpec.of("norm_relu", {"channels": 3, **SIZE}),
]  # fmt: skip


def test_every_kind_is_tried():
    assert {spec.kind for spec in SPECS} == set(CELLS)
    assert {s["operation"] for s in SPECS if s.kind == "cell_operation"} == set(OPERATIONS)


@pytest.mark.parametrize("kind", CELLS)
def test_formulas_equal_what_torch_does(kind):
    for spec in SPECS:
        if spec.kind == kind:
            assert_formulas_equal_counts(spec)


def test_no_layer_writes_over_its_inputs():
    for spec in SPECS:
        inputs = [torch.randn(2, *tensor.shape) for tensor in spec.inputs]
        before = [tensor.clone() for tensor in inputs]
        layer_module(spec)(*inputs)
        assert all(map(torch.equal, inputs, before)), spec


def test_operations_have_weights_of_their_own():
    shapes = [parameter_shapes(operation(name, channels=4, stride=2)) for name in OPERATIONS]
    names = [name for one in shapes for name in one]
    assert len(names) == len(set(names)) == 4 + 2 * 3 + 2 * 4 + 2 * 8


# --- answers, against hand-written ones -----------------------------------------------------------


def in_eval(spec, *inputs):
    """Answer with random weights and empty statistics, so that norms only scale and shift."""
    module = layer_module(spec).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1, generator=generator)
        return dict(module.named_parameters()), module(*inputs)


def normed(hidden, weights, name):
    scale, shift = (weights[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias"))
    return hidden / (1 + 1e-5) ** 0.5 * scale + shift


def conv(hidden, weight, **settings):
    return nn.functional.conv2d(hidden, weight, **settings)


@pytest.fixture
def images():
    return torch.randn(2, 4, 10, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kernel", [3, 5])
def test_separable_convolution(images, kernel):
    spec = operation(f"sep_conv_{kernel}x{kernel}", channels=4, stride=2)
    weights, found = in_eval(spec, images)
    part = f"sep_conv_{kernel}x{kernel}"
    hidden = images
    for first, stride in ((0, 2), (4, 1)):
        hidden = hidden.clamp(min=0)
        depthwise = weights[f"{part}.{first + 1}.weight"]
        hidden = conv(hidden, depthwise, padding=kernel // 2, stride=stride, groups=4)
        hidden = conv(hidden, weights[f"{part}.{first + 2}.weight"])
        hidden = normed(hidden, weights, f"{part}.{first + 3}")
    torch.testing.assert_close(found, hidden)
    assert found.shape == (2, 4, 5, 3)


@pytest.mark.parametrize("kernel", [3, 5])
def test_dilated_convolution(images, kernel):
    part = f"dil_conv_{kernel}x{kernel}"
    weights, found = in_eval(operation(part, channels=4, stride=1), images)
    wide = torch.zeros(4, 1, 2 * kernel - 1, 2 * kernel - 1)
    wide[:, :, ::2, ::2] = weights[f"{part}.1.weight"]  # the same kernel, zeros between
    hidden = conv(images.clamp(min=0), wide, padding=kernel - 1, groups=4)
    hidden = conv(hidden, weights[f"{part}.2.weight"])
    torch.testing.assert_close(found, normed(hidden, weights, f"{part}.3"))


def windows(images, padding_value):
    """All 3 x 3 windows: b x c x 9 x h x w."""
    padded = nn.functional.pad(images, (1, 1, 1, 1), value=padding_value)
    _, _, height, width = images.shape
    shifts = itertools.product(range(3), repeat=2)
    return torch.stack([padded[:, :, i : i + height, j : j + width] for i, j in shifts], dim=2)


@pytest.mark.parametrize("stride", [1, 2])
def test_pools(images, stride):
    _, greatest = in_eval(operation("max_pool_3x3", channels=4, stride=stride), images)
    expected = windows(images, -torch.inf).amax(dim=2)[:, :, ::stride, ::stride]
    torch.testing.assert_close(greatest, expected)
    _, mean = in_eval(operation("avg_pool_3x3", channels=4, stride=stride), images)
    expected = windows(images, torch.nan).nanmean(dim=2)[:, :, ::stride, ::stride]
    torch.testing.assert_close(mean, expected)


def test_factorized_reduce(images):
    spec = LayerSpec.of("factorized_reduce", {"in_channels": 4, "out_channels": 5, **SIZE})
    weights, found = in_eval(spec, images)
    positive = images.clamp(min=0)
    even = torch.einsum("oi,bihw->bohw", weights["first.weight"][:, :, 0, 0],
                        positive[:, :, ::2, ::2])  # fmt: skip
    odd = torch.einsum("oi,bihw->bohw", weights["second.weight"][:, :, 0, 0],
                       positive[:, :, 1::2, 1::2])  # fmt: skip
    torch.testing.assert_close(found, normed(torch.cat([even, odd], 1), weights, "norm"))


def test_reduction_block(images):
    spec = LayerSpec.of("reduction_block", {"in_channels": 4, "out_channels": 6, **SIZE})
    weights, found = in_eval(spec, images)
    hidden = conv(images.clamp(min=0), weights["conv_a.1.weight"], stride=2, padding=1)
    hidden = normed(hidden, weights, "conv_a.2").clamp(min=0)
    hidden = normed(conv(hidden, weights["conv_b.1.weight"], padding=1), weights, "conv_b.2")
    corners = [images[:, :, i::2, j::2] for i, j in itertools.product((0, 1), repeat=2)]
    pooled = sum(corners) / 4
    expected = conv(pooled, weights["downsample.1.weight"]) + hidden
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_relu_comes_before_the_convolution_and_none_is_zero(images):
    spec = operation("nor_conv_3x3", channels=4, stride=1)
    weights, found = in_eval(spec, images)
    hidden = conv(images.clamp(min=0), weights["nor_conv_3x3.1.weight"], padding=1)
    torch.testing.assert_close(found, normed(hidden, weights, "nor_conv_3x3.2"))
    _, nothing = in_eval(operation("none", channels=4, stride=1), images)
    assert nothing.shape == images.shape
    assert not nothing.any()

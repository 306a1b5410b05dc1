import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces import LayerSpec
from search_spaces.layer_kinds.residual import RESIDUALS
from search_spaces.layer_modules import layer_module
from tests.contracts.elastic_contract import assert_formulas_equal_counts


def block(kind: str, **fields) -> LayerSpec:
    common = {"height": 9, "width": 6, "stride": 1, "shortcut": "identity", "activation": "relu"}
    return LayerSpec.of(kind, common | fields)


# Heights are not widths, sizes are odd under stride 2, and the peak lies in another operation each
# time: wide sources, wide insides, wide results.
SPECS = [
    *(
        block(
            kind, in_channels=source, mid_channels=mid, out_channels=result, stride=stride,
            shortcut="projection", height=height,
        )
        for kind, source, mid, result, stride, height in itertools.product(
            ("bottleneck", "basic_block"), (2, 24), (3, 16), (4, 40), (1, 2), (1, 9)
        )
    ),
    *(
        block(kind, in_channels=outer, mid_channels=mid, out_channels=outer)
        for kind, outer, mid in itertools.product(("bottleneck", "basic_block"), (4, 20), (3, 50))
    ),
    *(
        LayerSpec.of(
            "residual_convolution",
            {"in_channels": 5, "height": 7, "width": 4, "kernel": kernel, "activation": "relu"},
        )
        for kernel in (1, 3, 5)
    ),
    *(
        LayerSpec.of(
            "max_pool",
            {"in_channels": 5, "height": height, "width": 4, "kernel": kernel, "stride": stride},
        )
        for height, kernel, stride in itertools.product((6, 7), (1, 3, 5), (1, 2))
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind", RESIDUALS)
def test_formulas_equal_what_torch_does(kind):
    specs = [spec for spec in SPECS if spec.kind == kind]
    assert len(set(specs)) >= 3
    for spec in specs:
        assert_formulas_equal_counts(spec)


def norm(hidden, scale, shift):
    """Batch norm on the statistics of the batch."""
    mean = hidden.mean(dim=(0, 2, 3), keepdim=True)
    variance = hidden.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (hidden - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]


def random_layer(spec: LayerSpec) -> tuple[nn.Module, list[torch.Tensor], torch.Tensor]:
    """The module in training mode, its random weights in order, and inputs."""
    generator = torch.Generator().manual_seed(0)
    module = layer_module(spec).train()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    inputs = torch.randn(3, *spec.inputs[0].shape, generator=generator)
    return module, [p.detach() for p in module.parameters()], inputs


@pytest.mark.parametrize(
    ("shortcut", "stride"), [("identity", 1), ("projection", 1), ("projection", 2)]
)
def test_bottleneck_equals_a_hand_written_one(shortcut, stride):
    outer = 4 if shortcut == "identity" else 10
    spec = block(
        "bottleneck", in_channels=4, mid_channels=3, out_channels=outer, stride=stride,
        shortcut=shortcut,
    )  # fmt: skip
    module, weights, inputs = random_layer(spec)
    (w1, s1, b1), (w2, s2, b2), (w3, s3, b3) = (weights[i : i + 3] for i in (0, 3, 6))
    hidden = norm(F.conv2d(inputs, w1), s1, b1).clamp(min=0)
    hidden = norm(F.conv2d(hidden, w2, padding=1, stride=stride), s2, b2).clamp(min=0)
    hidden = norm(F.conv2d(hidden, w3), s3, b3)
    beside = inputs
    if shortcut == "projection":
        w4, s4, b4 = weights[9:]
        if stride == 2:  # means of 2 x 2, at the odd edge of 1 x 2
            edge = torch.cat([inputs, inputs[:, :, -1:]], dim=2)
            beside = (edge[:, :, ::2] + edge[:, :, 1::2]) / 2
            beside = (beside[..., ::2] + beside[..., 1::2]) / 2
        beside = norm(F.conv2d(beside, w4), s4, b4)
    with torch.no_grad():
        expected = (hidden + beside).clamp(min=0)
        torch.testing.assert_close(module(inputs.clone()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_basic_block_equals_a_hand_written_one(stride):
    for shortcut in ("identity", "projection") if stride == 1 else ("projection",):
        outer = 4 if shortcut == "identity" else 10
        spec = block(
            "basic_block", in_channels=4, mid_channels=3, out_channels=outer, stride=stride,
            shortcut=shortcut,
        )  # fmt: skip
        module, weights, inputs = random_layer(spec)
        (w1, s1, b1), (w2, s2, b2) = (weights[i : i + 3] for i in (0, 3))
        hidden = norm(F.conv2d(inputs, w1, padding=1, stride=stride), s1, b1).clamp(min=0)
        hidden = norm(F.conv2d(hidden, w2, padding=1), s2, b2)
        beside = inputs
        if shortcut == "projection":
            w3, s3, b3 = weights[6:]
            beside = norm(F.conv2d(inputs[:, :, ::stride, ::stride], w3), s3, b3)
        with torch.no_grad():
            expected = (hidden + beside).clamp(min=0)
            torch.testing.assert_close(module(inputs.clone()), expected, rtol=1e-4, atol=1e-4)


def test_residual_convolution_has_no_activation_after_the_sum():
    spec = next(s for s in SPECS if s.kind == "residual_convolution" and s["kernel"] == 3)
    module, (weight, scale, shift), inputs = random_layer(spec)
    with torch.no_grad():
        expected = inputs + norm(F.conv2d(inputs, weight, padding=1), scale, shift).clamp(min=0)
        torch.testing.assert_close(module(inputs.clone()), expected, rtol=1e-4, atol=1e-4)
    assert (expected < 0).any()


def test_max_pool_takes_the_greatest_of_each_window():
    spec = next(
        s for s in SPECS
        if s.kind == "max_pool" and (s["height"], s["kernel"], s["stride"]) == (7, 3, 2)
    )  # fmt: skip
    inputs = torch.randn(2, 5, 7, 4, generator=torch.Generator().manual_seed(0))
    outputs = layer_module(spec)(inputs)
    assert outputs.shape == (2, 5, 4, 2)
    for row, column in itertools.product(range(4), range(2)):
        rows, columns = (slice(max(0, 2 * i - 1), 2 * i + 2) for i in (row, column))
        window = inputs[:, :, rows, columns]
        assert torch.equal(outputs[:, :, row, column], window.amax(dim=(2, 3)))


@pytest.mark.parametrize("kind", RESIDUALS)
def test_inputs_are_not_written_over(kind):
    for spec in [s for s in SPECS if s.kind == kind][-4:]:
        inputs = torch.randn(2, *spec.inputs[0].shape, generator=torch.Generator().manual_seed(0))
        before = inputs.clone()
        with torch.no_grad():
            layer_module(spec)(inputs)
        assert torch.equal(inputs, before)

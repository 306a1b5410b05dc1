import itertools

import pytest
import torch
from torch import nn

from search_spaces import LayerSpec
from search_spaces.layer_kinds.classifier import CLASSIFIERS
from search_spaces.layer_kinds.convolution import CONVOLUTIONS
from search_spaces.layer_modules import layer_module, layer_skeleton
from tests.contracts.elastic_contract import assert_formulas_equal_counts


def conv_norm(**fields):
    return LayerSpec.of("conv_norm", {"height": 9, "width": 7, "activation": "relu"} | fields)


def inverted_residual(**fields):
    common = {"height": 9, "width": 6, "activation": "hard_swish"}
    return LayerSpec.of("inverted_residual", common | fields)


def classifier(**fields):
    common = {"num_classes": 10, "activation": "hard_swish"}
    return LayerSpec.of("classifier", common | fields)


# Heights are not widths, sizes are odd under stride 2, and the peak lies in another operation each
# time: wide sources, wide insides, wide results, squeezes wider than images.
SPECS = [
    *(
        conv_norm(in_channels=source, out_channels=result, kernel=kernel, stride=stride)
        for source, result, kernel, stride in itertools.product((1, 6), (2, 16), (1, 3, 5), (1, 2))
    ),
    *(
        inverted_residual(
            in_channels=source,
            mid_channels=mid,
            out_channels=result,
            kernel=kernel,
            stride=stride,
            squeeze_channels=squeezed,
        )
        for source, mid, result, kernel, stride, squeezed in itertools.product(
            (4, 8), (4, 8, 24), (4, 8), (3, 5), (1, 2), (0, 2)
        )
    ),
    *(
        inverted_residual(
            in_channels=4, mid_channels=mid, out_channels=result, kernel=3, stride=stride,
            squeeze_channels=squeezed, height=side, width=1,
        )
        for mid, result, stride, side, squeezed in itertools.product(
            (4, 16), (4, 40), (1, 2), (1, 2), (0, 64)
        )
    ),
    *(
        classifier(in_channels=source, hidden_channels=hidden, height=height, width=2)
        for source, hidden, height in itertools.product((4, 32), (0, 1, 8, 64), (1, 5))
    ),
    *(
        LayerSpec.of(
            "convolution",
            {"height": 9, "width": 7, "in_channels": source, "out_channels": 5}
            | {"kernel": kernel, "stride": stride},
        )
        for source, kernel, stride in itertools.product((1, 6), (1, 3), (1, 2))
    ),
]  # fmt: skip


def test_every_kind_of_layer_is_tried():
    assert {spec.kind for spec in SPECS} == set(CONVOLUTIONS) | set(CLASSIFIERS)


def test_formulas_equal_what_torch_does():
    for spec in SPECS:
        assert_formulas_equal_counts(spec)


def test_layers_halve_and_round_up_under_stride():
    spec = conv_norm(in_channels=2, out_channels=3, kernel=5, stride=2)
    assert layer_module(spec)(torch.zeros(2, 2, 9, 7)).shape == (2, 3, 5, 4)


def test_residual_adds_the_input():
    spec = inverted_residual(
        in_channels=4, mid_channels=8, out_channels=4, kernel=3, stride=1, squeeze_channels=2
    )
    module = layer_module(spec).eval()
    nn.init.zeros_(module.project_norm.weight)  # the block says nothing: the input is left
    inputs = torch.randn(2, 4, 9, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(module(inputs), inputs)


@pytest.mark.parametrize(
    "fields",
    [
        {"in_channels": 4, "out_channels": 4, "stride": 2},
        {"in_channels": 4, "out_channels": 8, "stride": 1},
    ],
)
def test_no_residual_where_shapes_differ(fields):
    spec = inverted_residual(mid_channels=8, kernel=3, squeeze_channels=0, **fields)
    module = layer_module(spec).eval()
    nn.init.zeros_(module.project_norm.weight)
    inputs = torch.randn(2, 4, 9, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not module(inputs).any()


def test_inverted_residual_equals_a_hand_written_one():
    spec = inverted_residual(
        in_channels=4, mid_channels=8, out_channels=4, kernel=5, stride=1, squeeze_channels=2
    )
    module, functional = layer_module(spec).train(), nn.functional
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    weights = dict(module.named_parameters())
    inputs = torch.randn(3, 4, 9, 6, generator=generator)

    def norm(hidden, name):
        mean = hidden.mean(dim=(0, 2, 3), keepdim=True)
        variance = hidden.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        scale, shift = (weights[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias"))
        return (hidden - mean) / (variance + 1e-5).sqrt() * scale + shift

    def hard_swish(hidden):
        return hidden * (hidden + 3).clamp(0, 6) / 6

    with torch.no_grad():
        hidden = hard_swish(norm(functional.conv2d(inputs, weights["expand.0.weight"]), "expand.1"))
        hidden = functional.conv2d(hidden, weights["depthwise.weight"], padding=2, groups=8)
        hidden = hard_swish(norm(hidden, "depthwise_norm"))
        means = hidden.mean(dim=(2, 3))
        squeezed = (
            means @ weights["squeeze_excite.reduce.weight"][:, :, 0, 0].T
            + weights["squeeze_excite.reduce.bias"]
        ).clamp(min=0)
        gate = (
            squeezed @ weights["squeeze_excite.expand.weight"][:, :, 0, 0].T
            + weights["squeeze_excite.expand.bias"]
        )
        hidden = hidden * ((gate + 3).clamp(0, 6) / 6)[:, :, None, None]
        hidden = norm(functional.conv2d(hidden, weights["project.weight"]), "project_norm")
        torch.testing.assert_close(module(inputs), inputs + hidden, rtol=1e-4, atol=1e-4)


def test_skeletons_have_the_names_and_shapes_of_modules_and_no_weights():
    for spec in SPECS:
        module, skeleton = layer_module(spec), layer_skeleton(spec)
        assert skeleton is layer_skeleton(spec)
        assert all(parameter.is_meta for parameter in skeleton.parameters())
        assert not list(skeleton.buffers())
        shapes = [
            {name: parameter.shape for name, parameter in m.named_parameters()}
            for m in (module, skeleton)
        ]
        assert shapes[0] == shapes[1]

import itertools

import pytest
import torch
from torch import nn

from search_spaces import LayerSpec
from search_spaces.layer_modules import layer_module
from tests.contracts.elastic_contract import assert_formulas_equal_counts


def block_fields(channels, mid, scale, kernel, squeezed):
    return {
        "in_channels": channels, "mid_channels": mid, "scale": scale, "kernel": kernel,
        "dilation": 2, "squeeze_channels": squeezed,
    }  # fmt: skip


# The peak lies in another operation each time: wide sources, wide insides, few frames.
FIELDS = {
    "conv_norm_1d": [
        {"in_channels": source, "out_channels": result, "kernel": kernel, "dilation": dilation}
        for source, result, kernel, dilation in itertools.product(
            (1, 6), (2, 16), (1, 3, 5), (1, 4)
        )
    ],
    "pointwise_1d": [
        {"in_channels": 4 * parts, "parts": parts, "out_channels": result}
        for parts, result in itertools.product((1, 3), (2, 40))
    ],
    "res2_block": [
        block_fields(*sizes)
        for sizes in itertools.product((4, 200), (8, 24), (1, 2, 8), (3,), (1, 60))
    ],
    "sum_1d": [
        {"channels": 3, "num_inputs": num_inputs} for num_inputs in (1, 2, 5)
    ],
    "concat_1d": [{"channels": 3, "num_inputs": num_inputs} for num_inputs in (1, 2, 5)],
    "statistics_pooling": [{"in_channels": channels} for channels in (1, 7)],
    "attentive_statistics_pooling": [
        {"in_channels": channels, "attention_channels": attention}
        for channels, attention in itertools.product((1, 7), (1, 30))
    ],
}  # fmt: skip
SPECS = [
    LayerSpec.of(kind, fields | {"frames": frames})
    for kind, several in FIELDS.items()
    for fields, frames in itertools.product(several, (1, 2, 11))
] + [
    LayerSpec.of("pooled_embedding", {"in_features": 8, "parts": 2, "out_features": 3}),
    LayerSpec.of("pooled_embedding", {"in_features": 8, "parts": 2, "out_features": 30}),
    LayerSpec.of("sequence_classifier", {"in_features": 8, "num_classes": 1}),
    LayerSpec.of("sequence_classifier", {"in_features": 3, "num_classes": 50}),
]


@pytest.mark.parametrize("kind", sorted({spec.kind for spec in SPECS}))
def test_formulas_equal_what_torch_does(kind):
    for spec in SPECS:
        if spec.kind == kind:
            assert_formulas_equal_counts(spec)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 3), (3, 1), (3, 4), (5, 5)])
@pytest.mark.parametrize("kind", ["conv_norm_1d", "res2_block"])
def test_as_many_frames_leave_as_enter(kind, kernel, dilation):
    sizes = {"in_channels": 4, "kernel": kernel, "dilation": dilation, "frames": 6}
    rest = {"conv_norm_1d": {"out_channels": 4}}.get(
        kind, {"mid_channels": 8, "scale": 4, "squeeze_channels": 2}
    )
    module = layer_module(LayerSpec.of(kind, sizes | rest))
    for frames in (1, 2, 6, 30):
        assert module(torch.randn(3, 4, frames)).shape == (3, 4, frames)


def test_norms_follow_the_activation():
    spec = LayerSpec.of(
        "conv_norm_1d",
        {"in_channels": 2, "out_channels": 3, "kernel": 3, "dilation": 2, "frames": 9},
    )
    module = layer_module(spec)
    kinds = [nn.Conv1d, nn.ReLU, nn.BatchNorm1d]
    assert [type(child) for child in module] == kinds
    assert module(torch.randn(8, 2, 9)).mean(dim=(0, 2)).abs().max() < 1e-5  # the norm is last


# --- pooling --------------------------------------------------------------------------------------


def test_statistics_are_mean_and_deviation():
    module = layer_module(LayerSpec.of("statistics_pooling", {"in_channels": 3, "frames": 20}))
    inputs = 5 + 2 * torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([inputs.mean(dim=2), inputs.std(dim=2, unbiased=False)], dim=1)
    torch.testing.assert_close(module(inputs), expected)


def attentive(channels: int = 3) -> nn.Module:
    fields = {"in_channels": channels, "frames": 20, "attention_channels": 5}
    return layer_module(LayerSpec.of("attentive_statistics_pooling", fields))


def test_attention_weighs_every_channel_over_time():
    """As published (arXiv:1803.10963): weighted mean, and mean of squares less its square."""
    module, generator = attentive(), torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 3, 20, generator=generator)
    first, second = (module.attention.get_submodule(i).weight[:, :, 0] for i in "02")
    hidden = torch.tanh(torch.einsum("ac,bct->bat", first, inputs))
    weights = torch.einsum("ca,bat->bct", second, hidden).softmax(dim=2)
    mean = (weights * inputs).sum(dim=2)
    variance = (weights * inputs**2).sum(dim=2) - mean**2
    expected = torch.cat([mean, variance.sqrt()], dim=1)
    torch.testing.assert_close(module(inputs), expected, rtol=1e-4, atol=1e-5)


def test_attention_without_preference_is_plain_pooling():
    module = attentive()
    nn.init.zeros_(module.attention.get_submodule("2").weight)
    plain = layer_module(LayerSpec.of("statistics_pooling", {"in_channels": 3, "frames": 20}))
    inputs = torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(inputs), plain(inputs))


def test_deviation_of_what_does_not_change_has_a_gradient():
    plain = layer_module(LayerSpec.of("statistics_pooling", {"in_channels": 3, "frames": 20}))
    for module in (attentive(), plain):
        inputs = torch.ones(2, 3, 20, requires_grad=True)
        module(inputs).sum().backward()
        assert inputs.grad.isfinite().all()


def test_deviation_beside_a_large_mean_keeps_its_digits():
    inputs = 300 + torch.randn(2, 3, 2000, generator=torch.Generator().manual_seed(0))
    expected = inputs.double().std(dim=2, unbiased=False).float()
    fields = {"in_channels": 3, "frames": 2000}
    found = layer_module(LayerSpec.of("statistics_pooling", fields))(inputs)[:, 3:]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)

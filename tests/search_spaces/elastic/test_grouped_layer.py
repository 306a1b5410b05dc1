import pytest
import torch

from search_spaces import LayerSpec
from search_spaces.elastic import ELASTIC_LAYERS
from search_spaces.elastic.grouped_layer import GroupedLayer


def pointwise(parts: int, channels: int, result: int) -> LayerSpec:
    fields = {"in_channels": parts * channels, "parts": parts, "out_channels": result, "frames": 5}
    return LayerSpec.of("pointwise_1d", fields)


def res2_block(channels: int, mid: int, kernel: int) -> LayerSpec:
    return LayerSpec.of(
        "res2_block",
        {"in_channels": channels, "mid_channels": mid, "scale": 4, "kernel": kernel}
        | {"dilation": 2, "squeeze_channels": 2, "frames": 5},
    )


def layer_of(specs: list[LayerSpec]) -> GroupedLayer:
    layer = ELASTIC_LAYERS[specs[0].kind](specs)
    for i, parameter in enumerate(layer.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(i))
    assert isinstance(layer, GroupedLayer)
    return layer


def test_joined_parts_keep_their_own_channels():
    """Of a join of 3 x 4 channels, 2 x 3 are the first three of the first two parts."""
    small, large = pointwise(2, 3, 5), pointwise(3, 4, 7)
    layer = layer_of([small, large])
    whole = layer.shared.get_parameter("0.weight")
    assert whole.shape == (7, 12, 1)
    assert torch.equal(layer.slice(small)["0.weight"], whole[:5, [0, 1, 2, 4, 5, 6]])
    assert torch.equal(layer.slice(large)["0.weight"], whole)


def test_room_for_the_most_parts_of_the_most_channels_together():
    """No spec has both, and still no two of their numbers are one by accident."""
    deep, wide = pointwise(3, 2, 5), pointwise(2, 4, 5)
    layer = layer_of([deep, wide])
    whole = layer.shared.get_parameter("0.weight")
    assert whole.shape == (5, 12, 1)
    assert torch.equal(layer.slice(deep)["0.weight"], whole[:, [0, 1, 4, 5, 8, 9]])
    assert torch.equal(layer.slice(wide)["0.weight"], whole[:, :8])


def test_parts_inside_a_block_keep_their_own_channels():
    small, large = res2_block(6, 8, 1), res2_block(8, 16, 3)
    layer = layer_of([small, large])
    found = layer.slice(small)
    shared = dict(layer.shared.named_parameters())
    first_two_of_each_four = [0, 1, 4, 5, 8, 9, 12, 13]
    by_hand = {
        "first.0.weight": shared["first.0.weight"][first_two_of_each_four, :6],
        "first.2.weight": shared["first.2.weight"][first_two_of_each_four],
        "first.2.bias": shared["first.2.bias"][first_two_of_each_four],
        "convs.1.0.weight": shared["convs.1.0.weight"][:2, :2, 1:2],
        "convs.1.2.bias": shared["convs.1.2.bias"][:2],
        "last.0.weight": shared["last.0.weight"][:6, first_two_of_each_four],
        "last.2.weight": shared["last.2.weight"][:6],
        "squeeze_excite.expand.weight": shared["squeeze_excite.expand.weight"][:6],
    }
    for name, expected in by_hand.items():
        assert torch.equal(found[name], expected), name


@pytest.mark.parametrize("name", ["pooled_norm.weight", "linear.weight"])
def test_means_and_deviations_keep_their_own_channels(name):
    small, large = (
        LayerSpec.of("pooled_embedding", {"in_features": 2 * c, "parts": 2, "out_features": 5})
        for c in (3, 4)
    )
    layer = layer_of([small, large])
    whole = layer.shared.get_parameter(name)
    assert torch.equal(layer.slice(small)[name], whole[..., [0, 1, 2, 4, 5, 6]])

"""What a choice does: every dimension changes the network, the right channels are taken."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.conversion.elasticize import Elastic, elasticize
from search_spaces.conversion.importance import sort_by_importance
from search_spaces.supernet import Supernet
from tests.search_spaces.conversion.converted import Converted, converted, several
from tests.search_spaces.conversion.networks import NETWORKS, ResNet, seeded


@pytest.fixture(params=sorted(NETWORKS))
def one(request) -> Converted:
    return converted(request.param)


def test_every_dimension_changes_costs_and_answers(one):
    """Of each, the least option against the largest, all others at their largest."""
    space, supernet = one.elastic.space, one.elastic.supernet
    batch = one.batch(4, seed=1)
    with torch.no_grad():
        whole = several(supernet(batch, one.largest))
    for dimension in space.dimensions:
        if dimension.name not in one.largest.values:
            continue
        least = one.changed(**{dimension.name: dimension.options[0]})
        costs = space.layers.costs(space.encode_all([least, one.largest]))
        assert costs.num_params[0] < costs.num_params[1], dimension.name
        assert costs.macs[0] < costs.macs[1], dimension.name
        with torch.no_grad():
            outputs = several(supernet(batch, least))
        differences = [(a - b).abs().max() for a, b in zip(outputs, whole, strict=True)]
        assert max(differences) > 1e-5, dimension.name


def test_options_ascend_up_to_the_network_itself(one):
    for dimension in one.elastic.space.dimensions:
        assert list(dimension.options) == sorted(set(dimension.options))
        assert (
            one.largest.values.get(dimension.name, dimension.options[-1]) == (dimension.options[-1])
        )


# --- depths ---------------------------------------------------------------------------------------


def test_blocks_that_are_left_out_are_gone():
    one = converted("resnet")
    shallow = one.changed(layer1__depth=1, layer2__depth=0)
    names = {name for name, _ in one.elastic.space.layers.layers(one.elastic.space.encode(shallow))}
    assert any(name.startswith("layer1_0") for name in names)
    assert not any(name.startswith(("layer1_1", "layer2_1")) for name in names)


def test_a_network_without_a_block_is_the_network_whose_block_does_nothing():
    one = converted("resnet")
    network, _ = seeded(NETWORKS["resnet"])
    network.layer1[1] = nn.Identity()
    subnet = one.elastic.supernet.extract(one.changed(layer1__depth=1)).eval()
    batch = one.batch(3)
    with torch.no_grad():
        assert torch.equal(subnet(*batch), network(*batch))


def test_dimensions_of_a_block_count_with_it_alone():
    dimensions = {d.name: d for d in converted("resnet").elastic.space.dimensions}
    assert dimensions["layer1.1.conv1.width"].active_when == ("layer1.depth", frozenset({1}))
    assert dimensions["layer1.0.conv1.width"].active_when is None
    assert dimensions["conv1.width"].active_when is None


# --- which channels -------------------------------------------------------------------------------


def norms(*weights: Tensor) -> np.ndarray:
    """L1 norm of every channel, which lies along the first axis of each weight."""
    return sum(weight.detach().abs().flatten(1).sum(1) for weight in weights).numpy()


def strongest(scores: np.ndarray, n: int) -> list[int]:
    """The n largest, ascending by place."""
    return sorted(np.argsort(-scores, kind="stable")[:n].tolist())


def test_narrow_networks_take_the_channels_of_the_largest_weights():
    """Inside of a block: what makes a channel, its norm, and what reads it."""
    one = converted("resnet")
    block = one.network.layer1[0]
    channels = norms(
        block.conv1.weight,
        block.bn1.weight[:, None],
        block.bn1.bias[:, None],
        block.conv2.weight.transpose(0, 1),
    )
    kept = strongest(channels, 8)
    assert kept != list(range(8))
    subnet = one.elastic.supernet.extract(one.changed(**{"layer1.0.conv1.width": 8}))
    state = subnet.state_dict()
    conv1, conv2 = (state[f"layer1_0_conv{i}.conv_0.weight"] for i in (1, 2))
    assert torch.equal(conv1, block.conv1.weight[kept])
    assert torch.equal(conv2, block.conv2.weight[:, kept])
    for key in ("weight", "bias", "running_mean", "running_var"):
        own = state[f"layer1_0_conv1.batch_norm_1.{key}"]
        assert torch.equal(own, getattr(block.bn1, key)[kept])


def test_channels_of_residual_sums_are_judged_over_all_that_have_them():
    one = converted("resnet")
    net = one.network
    weights = [net.conv1.weight, net.bn1.weight[:, None], net.bn1.bias[:, None]]
    for block in net.layer1:
        weights += [block.conv1.weight.transpose(0, 1), block.conv2.weight]
        weights += [block.bn2.weight[:, None], block.bn2.bias[:, None]]
    first = net.layer2[0]
    weights += [w.transpose(0, 1) for w in (first.conv1.weight, first.downsample[0].weight)]
    kept = strongest(norms(*weights), 12)
    state = one.elastic.supernet.extract(one.changed(conv1__width=12)).state_dict()
    assert torch.equal(state["conv1.conv_0.weight"], net.conv1.weight[kept])
    inner = net.layer1[1].conv2.weight[kept]
    assert torch.equal(state["layer1_1_conv2.conv_0.weight"], inner)


def test_importance_by_gradients_is_what_the_loss_would_lose():
    """|sum of weight x gradient| of a channel, by hand."""
    network, example = seeded(lambda: (ResNet(), torch.randn(2, 3, 16, 16)))
    inputs, targets = torch.randn(8, 3, 16, 16), torch.arange(8) % 10
    elastic = elasticize(network, example, samples=(inputs, targets))
    nn.functional.cross_entropy(network(inputs), targets).backward()
    block = network.layer1[0]
    first, last = block.conv1.weight, block.conv2.weight
    parts = [
        (first * first.grad).flatten(1).sum(1),
        block.bn1.weight * block.bn1.weight.grad,
        block.bn1.bias * block.bn1.bias.grad,
        (last * last.grad).transpose(0, 1).flatten(1).sum(1),
    ]
    scores = sum(part.detach().abs() for part in parts)
    one = Converted(network, example, elastic)
    state = elastic.supernet.extract(one.changed(**{"layer1.0.conv1.width": 8})).state_dict()
    kept = strongest(scores.numpy(), 8)
    assert torch.equal(state["layer1_0_conv1.conv_0.weight"], first[kept])


# --- where channels lie ---------------------------------------------------------------------------


def in_order(one: Converted, orders: dict[str, list[int]]) -> Supernet:
    """A supernet whose channels stand in these orders, all others as they lie."""
    supernet = one.supernet()
    for slot in one.elastic.plan.slots:
        layer = supernet.slots[slot.name]
        for number, name in enumerate(slot.orders):
            length = len(layer.get_buffer(f"order_{number}"))
            wanted = orders.get(name, list(range(length)))
            rest = [i for i in range(length) if i not in wanted]
            layer.set_order(number, torch.tensor([*wanted, *rest]))
    return supernet


def test_concatenated_channels_are_taken_part_by_part():
    """Of a stem of 16 and three layers of 8, which share their width here."""
    one = converted("densenet")
    orders = {"stem.width": [15, 3, 0, 7, 8, 1, 2, 9]}
    stem = one.changed(stem__width=8)
    for name in {o for s in one.elastic.plan.slots for o in s.orders if o.startswith("stem")}:
        orders.setdefault(name, [6, 1, 4, 7])
    state = in_order(one, orders).extract(stem).state_dict()
    kept = sorted(orders["stem.width"])
    kept += [16 + 8 * i + j for i in range(3) for j in (1, 4, 6, 7)]
    expected = one.network.transition[0].weight[:, kept]
    (found,) = (w for name, w in state.items() if name.startswith("transition_0") and w.ndim == 4)
    assert torch.equal(found, expected)


def test_flattened_pixels_go_with_their_channel():
    one = converted("vgg")
    kept = [5, 2, 30, 31, 9, 11, 12, 0, 17, 20, 21, 22, 1, 3, 4, 6]
    supernet = in_order(one, {"features.5.width": kept})
    state = supernet.extract(one.changed(features__5__width=16)).state_dict()
    columns = [16 * channel + pixel for channel in sorted(kept) for pixel in range(16)]
    expected = one.network.classifier[0].weight[:, columns]
    assert torch.equal(state["classifier_0.linear_0.weight"], expected)


def test_groups_keep_their_number_and_lose_the_same_channels_each():
    one = converted("shufflenet")
    supernet = in_order(one, {"last.0.width": [6, 1, 0, 3]})
    state = supernet.extract(one.changed(last__0__width=4)).state_dict()
    kept = [8 * group + j for group in range(4) for j in (0, 1, 3, 6)]
    assert torch.equal(state["last_0.conv_0.weight"], one.network.last[0].weight[kept])
    assert torch.equal(state["head.linear_0.weight"], one.network.head.weight[:, kept])


def test_heads_are_taken_whole_from_queries_keys_and_values():
    one = converted("encoder_batch_pre")
    name = "encoder.layers.0.self_attn.heads"
    supernet = in_order(one, {name: [3, 1]})
    state = supernet.extract(one.changed(**{name: 2})).state_dict()
    attention = one.network.encoder.layers[0].self_attn
    rows = [32 * part + 8 * head + i for part in range(3) for head in (1, 3) for i in range(8)]
    found = [
        value for key, value in state.items()
        if key.startswith("encoder_layers_0_self_attn") and value.shape == (48, 32)
    ]  # fmt: skip
    assert len(found) == 1
    assert torch.equal(found[0], attention.in_proj_weight[rows])
    columns = [8 * head + i for head in (1, 3) for i in range(8)]
    found = [value for value in state.values() if value.shape == (32, 16)]
    assert any(torch.equal(value, attention.out_proj.weight[:, columns]) for value in found)


def test_halves_that_gate_each_other_lose_the_same_channels():
    one = converted("gates")
    kept = [23, 2, 5, 7, 11, 0, 1, 3, 9, 14, 20, 21]
    supernet = in_order(one, {"second.width": kept})
    state = supernet.extract(one.changed(second__width=12)).state_dict()
    rows = [24 * half + channel for half in (0, 1) for channel in sorted(kept)]
    second = next(v for v in state.values() if v.shape == (24, 32))
    assert torch.equal(second, one.network.second.weight[rows])


def test_small_kernels_are_the_centres_of_large_ones():
    one = converted("mobilenet_v2")
    state = one.elastic.supernet.extract(
        one.changed(**{"features.3.conv.3.kernel": 3})
    ).state_dict()
    whole = one.network.features[3].conv[3].weight
    assert torch.equal(state["features_3_conv_3.conv_0.weight"], whole[:, :, 2:5, 2:5])


def test_a_kernel_changes_with_no_width():
    """Where more dimensions meet in a layer than it may depend on, widths change together."""
    dimensions = {d.name: d.options for d in converted("many_widths").elastic.space.dimensions}
    assert dimensions["large.kernel"] == (3, 5, 7)
    assert len(dimensions) == 4


def test_large_kernels_beyond_what_a_layer_may_depend_on_stay():
    elastic = converted("many_widths").elastic
    most = max(len(slot.depends_on) for slot in elastic.space.slots)
    assert most <= 4


def test_statistics_that_a_network_came_with_are_those_of_its_channels():
    one = converted("resnet")
    subnet = one.elastic.supernet.extract(one.smallest)
    first = subnet.get_submodule("conv1.batch_norm_1")
    kept = [one.network.bn1.running_mean.tolist().index(v) for v in first.running_mean.tolist()]
    assert torch.equal(first.running_var, one.network.bn1.running_var[kept])
    assert kept == sorted(kept)


def test_sorting_leaves_weights_where_they_are():
    one = converted("unet")
    supernet = one.supernet()
    before = {name: p.clone() for name, p in supernet.named_parameters()}
    gradients = {name: torch.randn_like(p) for name, p in before.items()}
    elastic = one.elastic
    copied = Elastic(elastic.plan, elastic.space, supernet, elastic.stays, elastic.notes)
    sort_by_importance(copied, gradients)
    assert all(torch.equal(before[name], p) for name, p in supernet.named_parameters())


def test_orders_that_change_are_seen_at_once():
    """What a layer keeps of the channels that specs take is of the orders that it has."""
    one = converted("resnet")
    narrow = one.changed(**{"layer1.0.conv1.width": 8})
    supernet = one.supernet()
    name = "layer1_0_conv1.conv_0.weight"
    weight = one.network.layer1[0].conv1.weight
    slots = {slot.name: slot for slot in one.elastic.plan.slots}
    number = slots["layer1_0_conv1"].orders.index("layer1.0.conv1.width")
    for kept in (range(8), range(8, 16)):
        order = torch.tensor([*kept, *(i for i in range(16) if i not in kept)])
        supernet.slots["layer1_0_conv1"].set_order(number, order)
        assert torch.equal(supernet.extract(narrow).state_dict()[name], weight[list(kept)])

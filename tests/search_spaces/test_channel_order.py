import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces import SPACES, SearchSpace
from search_spaces.channel_order import channel_orders, reorder, sort_channels
from search_spaces.mobilenet import DIGITS, mobilenet_space
from search_spaces.resnet import DIGITS as RESNET_DIGITS
from search_spaces.resnet import resnet_space
from search_spaces.supernet import Supernet
from tests.contracts.cached_spaces import cached_space
from tests.contracts.supernet_contract import batch_of, joined, randomise

SMALL = [name for name in SPACES if name.endswith("-digits") or name == "bert-mini"]
OF_CELLS = {"nasnet-digits", "nasbench201-digits"}  # all channels have one size, outside and inside


def random_supernet(space: SearchSpace, kernel_transform: bool = False) -> Supernet:
    """In float64, so that no order of sums shows."""
    supernet = Supernet(space, kernel_transform).double()
    randomise(supernet, seed=0)
    return supernet


def outputs_of(supernet: Supernet, genome) -> torch.Tensor:
    architecture = supernet.space.decode(genome)
    inputs = batch_of(supernet, architecture, 8, seed=1)
    with torch.no_grad():
        return joined(
            supernet(
                tuple(one.double() if one.is_floating_point() else one for one in inputs),
                architecture,
            )
        )


def check_sorting(supernet: Supernet) -> None:
    space = supernet.space
    genomes = [space.largest()[0], space.sample(1, np.random.default_rng(0))[0]]
    before = [outputs_of(supernet, genome) for genome in genomes]
    assert sort_channels(supernet)
    after = [outputs_of(supernet, genome) for genome in genomes]
    assert (after[0] - before[0]).abs().max() <= 1e-9 * before[0].abs().max()
    assert (after[1] - before[1]).abs().max() > 1e-3 * before[1].abs().max()
    for places in channel_orders(supernet).values():  # a second time nothing moves
        assert all(torch.equal(order, torch.arange(len(order))) for _, order in places)


@pytest.mark.parametrize("name", sorted(set(SMALL) - OF_CELLS))
def test_the_largest_computes_the_same_after_sorting(name):
    check_sorting(random_supernet(cached_space(name)))


def test_bottlenecks_too():
    preset = replace(RESNET_DIGITS, block="bottleneck")
    check_sorting(random_supernet(resnet_space(preset, 5, 1)))


def test_mapped_kernels_too():
    """The maps are the same for all channels, so every kernel of the largest computes the same."""
    space = mobilenet_space(replace(DIGITS, kernels=(3, 5, 7), resolutions=(8,)), 5, 1)
    supernet = random_supernet(space, kernel_transform=True)
    architecture = space.architecture(
        space.decode(space.largest()[0]).values
        | {d.name: 3 for d in space.dimensions if d.name.endswith("kernel")}
    )
    genome = space.encode(architecture)[0]
    assert genome.tolist() != space.largest()[0].tolist()
    before = outputs_of(supernet, genome)
    check_sorting(supernet)
    after = outputs_of(supernet, genome)
    assert (after - before).abs().max() <= 1e-9 * before.abs().max()


@pytest.mark.parametrize("name", sorted(OF_CELLS))
def test_cells_have_nothing_to_sort(name):
    supernet = random_supernet(cached_space(name))
    before = copy.deepcopy(supernet.state_dict())
    assert not sort_channels(supernet)
    assert all(torch.equal(weight, before[key]) for key, weight in supernet.state_dict().items())


def test_small_options_take_what_is_read_most():
    supernet = random_supernet(cached_space("mobilenet-digits"))
    space = supernet.space
    smallest = space.decode(space.smallest()[0])
    layer = next(layer for layer in supernet.network(smallest).layers if "stage2" in layer.name)
    project = supernet.get_parameter(f"slots.{layer.name}.shared.project.weight")
    norms = project.detach().abs().sum(dim=(0, 2, 3))
    mid = layer.spec["mid_channels"]
    assert mid < len(norms)
    kept = supernet.extract(smallest).get_parameter(f"{layer.name}.project.weight")
    assert kept.shape[1] == mid
    best = norms.argsort(descending=True)[:mid]
    expected = project.detach()[: kept.shape[0], best]
    sort_channels(supernet)
    kept = supernet.extract(smallest).get_parameter(f"{layer.name}.project.weight")
    assert torch.equal(kept.float(), expected.float())  # subnets are built in float32


def test_heads_move_as_a_whole_and_by_what_is_read_of_all_their_features():
    supernet = random_supernet(cached_space("vit-digits"))
    slot, specs = next(
        (slot, specs) for slot, specs in supernet.slot_specs() if "heads" in specs[0].values
    )
    size = specs[0]["head_size"]
    names = [f"slots.{slot}.shared.attention.{part}.weight" for part in ("query", "output")]
    with torch.no_grad():  # the single feature that is read most is of the head that is read least
        output = supernet.get_parameter(names[1])
        output.copy_((1 + torch.arange(output.shape[1]) // size).expand_as(output))
        output[:, :size] = 0
        output[:, 0] = output.shape[1] // size + 1
    query, output = (supernet.get_parameter(name).detach().clone() for name in names)
    heads = list(zip(query.split(size), output.split(size, dim=1), strict=True))
    assert len(heads) > 1
    heads.sort(key=lambda head: float(head[1].abs().sum()), reverse=True)
    sort_channels(supernet)
    after = [supernet.get_parameter(name) for name in names]
    assert torch.equal(after[0], torch.cat([head[0] for head in heads]))
    assert torch.equal(after[1], torch.cat([head[1] for head in heads], dim=1))


def test_orders_apply_to_whatever_has_the_shapes_of_weights():
    """Tensors that hold the positions of their numbers tell what went where; others stay."""
    supernet = random_supernet(cached_space("resnet-digits"))
    orders = channel_orders(supernet)
    weights = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    tags = {
        name: torch.arange(w.numel(), dtype=torch.int64).view(w.shape)
        for name, w in weights.items()
    }
    sort_channels(supernet)
    reorder(tags, orders)
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter.flatten(), weights[name].flatten()[tags[name].flatten()])
        moved = not torch.equal(tags[name].flatten(), torch.arange(parameter.numel()))
        assert not moved or name in orders
    reorder({}, orders)  # an optimiser that has not stepped has no state


def test_networks_of_one_architecture_stay_as_they_are():
    space = cached_space("mobilenet-digits")
    assert not channel_orders(Supernet(space, only=space.decode(space.largest()[0])))

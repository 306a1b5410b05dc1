"""A converted network is the one it was made of; its subnets are what the supernet says."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.conversion.elasticize import Elastic, elasticize
from search_spaces.conversion.importance import sort_by_importance
from search_spaces.conversion.sameness import _plain_attention
from search_spaces.elastic.selecting_layer import SelectingLayer
from search_spaces.layer_program import read_program
from search_spaces.supernet import Supernet
from tests.contracts.traced_costs import traced_costs
from tests.search_spaces.conversion.converted import Converted, converted, several
from tests.search_spaces.conversion.networks import NETWORKS

BATCH_SIZES = (1, 2, 5)


@pytest.fixture(params=sorted(NETWORKS))
def one(request) -> Converted:
    return converted(request.param)


def with_supernet(one: Converted, supernet: Supernet) -> Elastic:
    """The same with a supernet of its own."""
    elastic = one.elastic
    return Elastic(elastic.plan, elastic.space, supernet, elastic.stays, elastic.notes)


def assert_same(one: Converted, supernet: Supernet) -> None:
    """Compare the largest subnet with the network, bit for bit."""
    subnet = supernet.extract(one.largest).eval()
    for size in BATCH_SIZES:
        batch = one.batch(size, seed=size)
        with torch.no_grad(), _plain_attention():
            expected, found = several(one.network(*batch)), several(subnet(*batch))
        assert len(expected) == len(found) == len(one.elastic.space.outputs)
        for wanted, got in zip(expected, found, strict=True):
            assert got.shape == wanted.shape
            assert torch.equal(got, wanted)
            if size > 1:
                assert wanted.std(dim=0).max() > 1e-3, (
                    "answers that ignore the inputs prove nothing"
                )


def test_the_largest_subnet_is_the_network_in_whatever_order_channels_stand(one):
    """As converted, as the network lies, by first-order importance and at random."""
    assert_same(one, one.elastic.supernet)
    supernet = one.supernet()
    layers = [layer for layer in supernet.slots.values() if isinstance(layer, SelectingLayer)]
    for layer in layers:
        for i in range(num_orders(layer)):
            layer.set_order(i, torch.arange(len(layer.get_buffer(f"order_{i}"))))
    assert_same(one, supernet)
    gradients = gradients_of(one, supernet)
    sort_by_importance(with_supernet(one, supernet), gradients)
    assert_same(one, supernet)
    orders = {name: b.clone() for name, b in supernet.named_buffers() if ".order_" in name}
    sort_by_importance(with_supernet(one, supernet))
    by_magnitude = dict(supernet.named_buffers())
    assert any(not torch.equal(by_magnitude[name], order) for name, order in orders.items())
    assert_same(one, supernet)


def num_orders(layer: SelectingLayer) -> int:
    return sum(name.startswith("order_") for name, _ in layer.named_buffers())


def gradients_of(one: Converted, supernet: Supernet) -> dict[str, Tensor]:
    """Of some loss, by parameter."""
    batch = one.batch(8, seed=3)
    outputs = several(supernet(batch, one.largest))
    sum((output**2).sum() for output in outputs).backward()
    return {
        name: parameter.grad
        for name, parameter in supernet.named_parameters()
        if parameter.grad is not None
    }


def test_subnets_of_the_supernet_are_the_extracted_ones(one):
    """On statistics of the batch; and they cost what is said."""
    space, supernet = one.elastic.space, one.elastic.supernet
    population = space.sample(3, np.random.default_rng(1))
    costs = space.layers.costs(population)
    for i, genome in enumerate(population):
        architecture = space.decode(genome)
        batch = one.batch(8, seed=i)
        subnet = supernet.extract(architecture).train()
        with torch.no_grad():
            expected, found = several(supernet(batch, architecture)), several(subnet(*batch))
        for wanted, got in zip(expected, found, strict=True):
            assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()
        assert costs.row(i) == traced_costs(subnet.eval(), *one.batch(1))


def test_the_original_is_left_as_it_was():
    network, example = NETWORKS["resnet"]()
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    elasticize(network, example)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_parameters_of_the_largest_are_those_of_the_network(one):
    """A module used twice counts twice: each place has its own."""
    space = one.elastic.space
    row = space.layers.costs(space.largest()).row(0)
    shared = getattr(one.network, "shared", None)
    counted = [*one.network.parameters(), *(shared.parameters() if shared else ())]
    assert row["num_params"] == sum(parameter.numel() for parameter in counted)


def test_every_slot_holds_weights_of_the_network_only(one):
    """Nothing is left at its random beginning: another conversion has the same numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = elasticize(one.network, one.example, name=one.elastic.plan.name.split("-")[0])
    first, second = one.elastic.supernet.state_dict(), again.supernet.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [slot.program for slot in again.plan.slots] == [
        slot.program for slot in one.elastic.plan.slots
    ]


def test_programs_read_as_they_were_written(one):
    for slot in one.elastic.plan.slots:
        assert read_program(slot.program).to_text() == slot.program


def test_networks_may_be_given_in_training_mode_and_with_examples_of_one_sample():
    network = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.9), nn.Linear(16, 3))
    elastic = elasticize(network.train(), torch.randn(1, 6))
    batch = torch.randn(4, 6)
    largest = elastic.space.decode(elastic.space.largest()[0])
    with torch.no_grad():
        expected = network.eval()(batch)
        assert torch.equal(elastic.supernet.extract(largest).eval()(batch), expected)

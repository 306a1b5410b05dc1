import copy

import pytest
import torch

from nas.config import TrainingConfig
from nas.training.optimizers import OPTIMIZERS, parameter_groups, reorder_state
from search_spaces import build_space
from search_spaces.channel_order import channel_orders, reorder
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of, joined, randomise


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_training_goes_on_as_if_channels_had_always_been_in_their_order(name):
    """Sorted between two steps of the largest: the same as sorted after both."""
    space = build_space("resnet-digits")
    config = TrainingConfig(optimizer=name, learning_rate=0.01)
    largest = space.decode(space.largest()[0])
    supernet = Supernet(space).double()
    randomise(supernet, seed=0)
    optimizer = OPTIMIZERS[name](parameter_groups(supernet, config.weight_decay), config)

    def step(network, optimizer, seed):
        (inputs,) = batch_of(network, largest, 8, seed)
        optimizer.zero_grad()
        joined(network(inputs.double(), largest)).square().mean().backward()
        optimizer.step()

    step(supernet, optimizer, 0)
    sorted_one, sorted_optimizer = copy.deepcopy((supernet, optimizer))
    orders = channel_orders(supernet)
    assert orders
    reorder(dict(sorted_one.named_parameters()), orders)
    reorder_state(sorted_optimizer, sorted_one, orders)
    for one, its_optimizer in ((supernet, optimizer), (sorted_one, sorted_optimizer)):
        step(one, its_optimizer, 1)
    reorder(dict(supernet.named_parameters()), orders)
    expected = supernet.state_dict()
    for key, weight in sorted_one.state_dict().items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-9, atol=1e-9)


def test_an_optimiser_without_state_stays_so():
    supernet = Supernet(build_space("resnet-digits"))
    config = TrainingConfig()
    optimizer = OPTIMIZERS["sgd"](parameter_groups(supernet, 0.0), config)
    reorder_state(optimizer, supernet, channel_orders(supernet))
    assert not optimizer.state

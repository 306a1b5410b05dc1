import copy

import pytest
import torch
from torch import nn

from nas.config import TrainingConfig
from nas.training.optimizers import OPTIMIZERS, parameter_groups, reorder_state, take_step
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


class OnGpu:
    """A boolean that cannot be looked at without waiting, as those of a GPU."""

    is_cuda = True

    def __init__(self, value: bool) -> None:
        self._value = torch.tensor(value)

    def __invert__(self) -> torch.Tensor:
        return ~self._value

    def __bool__(self) -> bool:
        raise AssertionError("waits for the device")


def plain(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)


def fused(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, fused=True)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.1)


def fused_adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.1, fused=True)


def trained(make, steps, on_gpu=False) -> list[torch.Tensor]:
    """Two weights after steps (gradient of the first, of the second or None, admitted)."""
    weights = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(5))]
    optimizer = make(weights)
    for *gradients, admitted in steps:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = None if gradient is None else torch.full_like(weight, gradient)
        take_step(optimizer, OnGpu(admitted) if on_gpu else torch.tensor(admitted))
    return [weight.detach() for weight in weights]


NAN = float("nan")
STEPS = {
    "all good": [(1.0, 2.0, True), (0.5, -1.0, True)],
    "the first is bad": [(NAN, 2.0, False), (1.0, 2.0, True), (0.5, -1.0, True)],
    "one between is bad": [(1.0, 2.0, True), (NAN, NAN, False), (0.5, -1.0, True)],
    "a weight comes later": [(1.0, None, True), (1.0, 2.0, True), (0.5, -1.0, True)],
    "a weight comes later, badly": [(1.0, None, True), (1.0, NAN, False), (0.5, -1.0, True)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("make", "oracle"), [(fused, plain), (fused_adamw, adamw)])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_steps_that_are_not_admitted_leave_no_trace(make, oracle, steps, on_gpu):
    """Compared with an optimiser that takes its time and never sees the bad ones."""
    good = [step for step in steps if step[-1]]
    for found, expected in zip(trained(make, steps, on_gpu), trained(oracle, good), strict=True):
        torch.testing.assert_close(found, expected)

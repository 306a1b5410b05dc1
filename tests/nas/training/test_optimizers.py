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
    optimizer = OPTIMIZERS["adamw"](parameter_groups(supernet, 0.0), config)
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


def plain_sgd(groups):
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)


def plain_adamw(groups):
    return torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.999))


def trained(optimizer, steps, on_gpu=False) -> list[torch.Tensor]:
    """Its two weights after steps (gradient of the first, of the second or None, admitted)."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
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
@pytest.mark.parametrize(("name", "plain"), [("sgd", plain_sgd), ("adamw", plain_adamw)])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_steps_that_are_not_admitted_leave_no_trace(name, plain, steps, on_gpu):
    """Compared with an optimiser of one weight at a time that never sees the bad ones."""
    config = TrainingConfig(optimizer=name, learning_rate=0.1, momentum=0.9)
    ours, reference = (nn.Linear(3, 2), nn.Linear(3, 2))
    reference.load_state_dict(ours.state_dict())
    found = trained(OPTIMIZERS[name](parameter_groups(ours, 0.01), config), steps, on_gpu)
    good = [step for step in steps if step[-1]]
    for one, expected in zip(
        found, trained(plain(parameter_groups(reference, 0.01)), good), strict=True
    ):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_is_as_published_where_a_step_lacks_gradients(momentum):
    """Against plain SGD, on weights that get their first gradients in different steps."""
    config = TrainingConfig(momentum=momentum, learning_rate=0.1)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    class Weights(torch.nn.Module):
        def __init__(self, values):
            super().__init__()
            self.all = torch.nn.ParameterList(value.clone() for value in values)

    values = [draw(3, 2), draw(4), draw(2, 2)]
    ours, plain = Weights(values), Weights(values)
    optimizer = OPTIMIZERS["sgd"](parameter_groups(ours, 0.01), config)
    groups = parameter_groups(plain, 0.01)
    reference = torch.optim.SGD(
        groups, lr=0.1, momentum=momentum, nesterov=momentum > 0, foreach=False
    )
    for present in ((0,), (0, 1), (1, 2), (0, 1, 2)):
        gradients = {i: draw(*values[i].shape) for i in present}
        for module, its_optimizer in ((ours, optimizer), (plain, reference)):
            for i, parameter in enumerate(module.all):
                parameter.grad = gradients[i].clone() if i in gradients else None
            its_optimizer.step()
    for found, expected in zip(ours.all, plain.all, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

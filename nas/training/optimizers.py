"""Optimisers, and their state as tensors by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from search_spaces.channel_order import Orders, reorder

STATE_PREFIX = "optimizer."
ADAM_SECOND_DECAY = 0.999


def _sgd(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )
    # The fused one begins all momenta in its first step, and a step of one subnet has not all
    # gradients. From 0 the first momentum is the gradient, as it would be.
    for parameter in (one for group in groups for one in group["params"] if config.momentum):
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _adamw(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.momentum, ADAM_SECOND_DECAY),
        fused=True,
    )


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainingConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on weights of two dimensions and more; none on norms and biases."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def take_step(optimizer: torch.optim.Optimizer, admitted: Tensor) -> None:
    """Take a step if a boolean of no dimensions says so; without waiting for a GPU to say it."""
    if admitted.is_cuda:
        # what fused optimisers read of a gradient scaler: with it set, they change nothing
        optimizer.found_inf = (~admitted).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif admitted:
        optimizer.step()


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return all state of the optimiser, by name of the state and of the parameter."""
    return {
        f"{STATE_PREFIX}{key}.{name}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put state back as `optimizer_tensors` returned it; other tensors are left alone."""
    parameters = dict(module.named_parameters())
    for full_name, value in tensors.items():
        if not full_name.startswith(STATE_PREFIX):
            continue
        key, _, name = full_name.removeprefix(STATE_PREFIX).partition(".")
        if name in parameters:
            parameter = parameters[name]
            # Fused optimisers walk through weights and state alike, as they lie in memory.
            like = parameter if value.shape == parameter.shape else value
            state = torch.empty_like(like, dtype=value.dtype, device=parameter.device)
            optimizer.state[parameter][key] = state.copy_(value)


def reorder_state(optimizer: torch.optim.Optimizer, module: nn.Module, orders: Orders) -> None:
    """Let the state of the optimiser follow the weights of a module into other orders of channels.

    State of another shape than its weight (numbers of steps) stays.
    """
    parameters = dict(module.named_parameters())
    for name in orders:
        weight = parameters[name]
        for value in optimizer.state.get(weight, {}).values():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                reorder({name: value}, orders)

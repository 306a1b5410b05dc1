"""Activations by the words that layer specs use."""

from collections.abc import Callable

from torch import nn

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "hard_swish": nn.Hardswish,
    "gelu": lambda inplace=False: nn.GELU(),
    "none": lambda inplace=False: nn.Identity(),
}
"""Each takes `inplace`, which is only for tensors that nothing else reads."""

"""What can exist: spaces as data, layer specs and their costs, supernets. Importing this needs
numpy only.
"""

from collections.abc import Callable

from search_spaces.architecture import Architecture
from search_spaces.errors import InfeasibleError, InputError, MissingExtraError, unknown_name
from search_spaces.layer_grid import Costs, LayerGrid, LayerSlot
from search_spaces.layer_spec import LayerSpec
from search_spaces.mobilenet import mobilenet_cifar, mobilenet_digits, mobilenet_v3
from search_spaces.nasbench201 import nasbench201
from search_spaces.space import Dimension, Population, SearchSpace

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "mobilenet-digits": mobilenet_digits,
    "mobilenet-cifar": mobilenet_cifar,
    "mobilenet-v3": mobilenet_v3,
}
"""The catalogue: name -> builder(num_classes=..., input_channels=...)."""

TABLE_SPACES: dict[str, Callable[[], SearchSpace]] = {"nasbench201": nasbench201}
"""Spaces without layers, known from published tables only: name -> builder()."""


def build_space(name: str, /, **settings: int) -> SearchSpace:
    """Build a space of either catalogue; `settings` are the builder's (num_classes,
    input_channels).

    Raises:
        InputError: an unknown name (the nearest valid one is named), or settings for a table space.
    """
    if name in TABLE_SPACES:
        if settings:
            raise InputError(f"{name} is known from tables only: it takes no {', '.join(settings)}")
        return TABLE_SPACES[name]()
    if name not in SPACES:
        raise unknown_name("space", name, [*SPACES, *TABLE_SPACES])
    try:
        return SPACES[name](**settings)
    except TypeError:
        raise InputError(
            f"{name}: expected num_classes and input_channels, got {settings}"
        ) from None


__all__ = [
    "SPACES",
    "TABLE_SPACES",
    "Architecture",
    "Costs",
    "Dimension",
    "InfeasibleError",
    "InputError",
    "LayerGrid",
    "LayerSlot",
    "LayerSpec",
    "MissingExtraError",
    "Population",
    "SearchSpace",
    "build_space",
    "unknown_name",
]

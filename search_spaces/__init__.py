"""What can exist: spaces as data, layer specs and their costs, supernets. Importing this needs
numpy only.
"""

from collections.abc import Callable

from search_spaces.architecture import Architecture
from search_spaces.errors import InfeasibleError, InputError, MissingExtraError, unknown_name
from search_spaces.layer_grid import Costs, LayerGrid, LayerSlot
from search_spaces.layer_spec import LayerSpec
from search_spaces.mobilenet import mobilenet_cifar, mobilenet_digits, mobilenet_v3
from search_spaces.space import Dimension, Population, SearchSpace

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "mobilenet-digits": mobilenet_digits,
    "mobilenet-cifar": mobilenet_cifar,
    "mobilenet-v3": mobilenet_v3,
}
"""The catalogue: name -> builder(num_classes=..., input_channels=...)."""


def build_space(name: str, **settings: int) -> SearchSpace:
    """Build a space of the catalogue; `settings` are the builder's (num_classes, input_channels).

    Raises:
        InputError: an unknown name (the nearest valid one is named).
    """
    if name not in SPACES:
        raise unknown_name("space", name, SPACES)
    return SPACES[name](**settings)


__all__ = [
    "SPACES",
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

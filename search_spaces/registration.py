"""Kinds of layers from outside of this project: a user's own module makes them known."""

from collections.abc import Callable

from torch import nn

from search_spaces.elastic import ELASTIC_LAYERS, ElasticLayer
from search_spaces.errors import InputError
from search_spaces.layer_kind import LayerKind
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import LAYER_MODULES
from search_spaces.layer_spec import LayerSpec


def register_layer_kind(
    name: str,
    kind: LayerKind,
    module: Callable[[LayerSpec], nn.Module],
    elastic: type[ElasticLayer] = ElasticLayer,
) -> None:
    """Make a kind of layer known by `name`, for specs, supernets, costs and profiles.

    The same kind with the same module may come again: builders of spaces call this, and run more
    than once.

    Args:
        name: what slots call it.
        kind: its formulas.
        module: builds the plain module of a spec.
        elastic: how its weights are shared, if not by leading slices.

    Raises:
        InputError: another kind has this name.
    """
    known = (LAYER_KINDS.get(name), LAYER_MODULES.get(name), ELASTIC_LAYERS.get(name, ElasticLayer))
    if known == (kind, module, elastic):
        return
    if name in LAYER_KINDS:
        raise InputError(f"expected a new name for a layer kind, got {name!r}, which is taken")
    LAYER_KINDS[name], LAYER_MODULES[name] = kind, module
    if elastic is not ElasticLayer:
        ELASTIC_LAYERS[name] = elastic

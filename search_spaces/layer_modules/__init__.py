"""A layer spec as a plain torch module: the very code that runs in the supernet, in subnets and
under the profiler.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

from search_spaces.layer_modules.batch_norm import without_statistics
from search_spaces.layer_modules.classifier import CLASSIFIERS
from search_spaces.layer_modules.convolution import CONVOLUTIONS
from search_spaces.layer_modules.transformer import TRANSFORMERS
from search_spaces.layer_spec import LayerSpec

LAYER_MODULES: dict[str, Callable[[LayerSpec], nn.Module]] = {
    **CONVOLUTIONS,
    **CLASSIFIERS,
    **TRANSFORMERS,
}
"""The catalogue, of the same names as `LAYER_KINDS`: name -> module of a spec."""


def layer_module(spec: LayerSpec) -> nn.Module:
    """Build the plain module of a spec, with torch's initialisation and empty norm statistics."""
    return LAYER_MODULES[spec.kind](spec)


@lru_cache(maxsize=16384)
def layer_skeleton(spec: LayerSpec) -> nn.Module:
    """Build the same module without weights (on the meta device), its norms always on batch
    statistics.

    The supernet runs it with slices of shared weights in place of its own; it must not be changed.
    """
    with torch.device("meta"):
        return without_statistics(layer_module(spec))


@lru_cache(maxsize=16384)
def parameter_shapes(spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the plain module, by name."""
    return {n: tuple(p.shape) for n, p in layer_skeleton(spec).named_parameters()}

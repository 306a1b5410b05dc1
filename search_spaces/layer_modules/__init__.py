"""A layer spec as a plain torch module: the very code that runs in the supernet, in subnets and
under the profiler.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.layer_modules.batch_norm import without_statistics
from search_spaces.layer_modules.cell import CELLS
from search_spaces.layer_modules.classifier import CLASSIFIERS
from search_spaces.layer_modules.convolution import CONVOLUTIONS
from search_spaces.layer_modules.fast_convolution import with_fast_convolutions
from search_spaces.layer_modules.program import PROGRAMS
from search_spaces.layer_modules.residual import RESIDUALS
from search_spaces.layer_modules.sequence import SEQUENCES
from search_spaces.layer_modules.transformer import TRANSFORMERS
from search_spaces.layer_spec import LayerSpec

LAYER_MODULES: dict[str, Callable[[LayerSpec], nn.Module]] = {
    **CONVOLUTIONS,
    **CLASSIFIERS,
    **RESIDUALS,
    **CELLS,
    **TRANSFORMERS,
    **SEQUENCES,
    **PROGRAMS,
}
"""The catalogue, of the same names as `LAYER_KINDS`: name -> module of a spec."""


def layer_module(spec: LayerSpec) -> nn.Module:
    """Build the plain module of a spec, with torch's initialisation and empty norm statistics."""
    return LAYER_MODULES[spec.kind](spec)


@lru_cache(maxsize=16384)
def layer_skeleton(spec: LayerSpec) -> nn.Module:
    """Build the same module without weights (on the meta device), its norms always on batch
    statistics, its convolutions fast ones.

    The supernet runs it with slices of shared weights in place of its own; it must not be changed.
    """
    with torch.device("meta"):
        return with_fast_convolutions(without_statistics(layer_module(spec)))


def run_layer(spec: LayerSpec, weights: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    """Run the plain module of a spec on given weights, norms on the statistics of the batch.

    What `torch.func.functional_call` does, without its checks: they took longer than the small
    layers themselves.
    """
    places = _weight_places(spec)
    before = [holder[key] for holder, key, _ in places]
    try:
        for holder, key, name in places:
            holder[key] = weights[name]
        outputs: Tensor = layer_skeleton(spec)(*inputs)
    finally:
        for (holder, key, _), parameter in zip(places, before, strict=True):
            holder[key] = parameter
    return outputs


@lru_cache(maxsize=16384)
def _weight_places(spec: LayerSpec) -> list[tuple[dict[str, Any], str, str]]:
    """Return where the skeleton keeps every parameter: (dictionary, key, dotted name)."""
    skeleton = layer_skeleton(spec)
    places = []
    for name, _ in skeleton.named_parameters():
        owner, _, key = name.rpartition(".")
        places.append((skeleton.get_submodule(owner)._parameters, key, name))
    return places


@lru_cache(maxsize=16384)
def parameter_shapes(spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the plain module, by name."""
    return {n: tuple(p.shape) for n, p in layer_skeleton(spec).named_parameters()}

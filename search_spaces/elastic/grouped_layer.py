"""Channels that come in groups: parts of a join, splits of a block, means beside deviations."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from search_spaces.elastic.elastic_layer import (
    ElasticLayer,
    Shape,
    largest_shapes,
    leading_slice,
)
from search_spaces.layer_modules import parameter_shapes
from search_spaces.layer_spec import LayerSpec


class GroupedLayer(ElasticLayer):
    """Shares, along the dimensions named here, the first groups and of each its first channels;
    along all others as every layer does (EfficientTDNN, arXiv:2103.13581).

    With plain leading slices a channel of a narrow spec would be one of another group in a wide
    one. Subclasses name the dimensions: beginning of a weight's name -> dimension -> the field that
    counts its groups.
    """

    groups: ClassVar[Mapping[str, Mapping[int, str]]]

    def covering(self, specs: Sequence[LayerSpec]) -> dict[str, Shape]:
        """Return shapes with the most groups times the most channels in one."""
        shapes = largest_shapes(parameter_shapes(spec) for spec in specs)
        self._most_groups: dict[str, dict[int, int]] = {}
        for name, shape in shapes.items():
            having = [spec for spec in specs if name in parameter_shapes(spec)]
            sizes = list(shape)
            for dimension, field in self._grouped(name).items():
                most = max(spec[field] for spec in having)
                self._most_groups.setdefault(name, {})[dimension] = most
                sizes[dimension] = most * max(
                    parameter_shapes(spec)[name][dimension] // spec[field] for spec in having
                )
            shapes[name] = tuple(sizes)
        return shapes

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec`; grouped ones may be copies that gradients pass through."""
        weights = {}
        for name, shape in parameter_shapes(spec).items():
            weight: Tensor = self.weight(name)
            for dimension, field in self._grouped(name).items():
                num_groups = spec[field]
                weight = (
                    torch.unflatten(weight, dimension, (self._most_groups[name][dimension], -1))
                    .narrow(dimension, 0, num_groups)
                    .narrow(dimension + 1, 0, shape[dimension] // num_groups)
                    .flatten(dimension, dimension + 1)
                )
            weights[name] = leading_slice(weight, shape)
        return weights

    def _grouped(self, name: str) -> Mapping[int, str]:
        found = (by for start, by in self.groups.items() if name.startswith(start))
        return next(found, {})


class Res2Layer(GroupedLayer):
    """The parts of a Res2 block: the convolutions before and after them."""

    groups: ClassVar = {"first.": {0: "scale"}, "last.0.": {1: "scale"}}


class JoinedLayer(GroupedLayer):
    """Reads a join of `parts` tensors."""

    groups: ClassVar = {"0.": {1: "parts"}}


class PooledLayer(GroupedLayer):
    """Reads `parts` kinds of statistics, side by side."""

    groups: ClassVar = {"pooled_norm.": {0: "parts"}, "linear.weight": {1: "parts"}}


GROUPED_LAYERS: dict[str, type[ElasticLayer]] = {
    "res2_block": Res2Layer,
    "pointwise_1d": JoinedLayer,
    "pooled_embedding": PooledLayer,
}

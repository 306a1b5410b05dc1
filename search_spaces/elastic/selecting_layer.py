"""Layers that take chosen channels of their weights, wherever those lie."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search_spaces.elastic.elastic_layer import ElasticLayer, leading_slice
from search_spaces.layer_modules import parameter_shapes
from search_spaces.layer_modules.program import weight_name
from search_spaces.layer_program import (
    NUM_SIZES,
    Axis,
    Chosen,
    Program,
    Term,
    axis_size,
    read_program,
    term_size,
)
from search_spaces.layer_spec import LayerSpec

Taken = dict[str, tuple[list[tuple[int, Tensor]], tuple[int, ...]]]
"""Of every weight: the channels to take along some dimensions, and the shape that is left."""

STATISTICS = ("running_mean", "running_var")


class SelectingLayer(ElasticLayer):
    """Shares the weights of a program: a narrow spec takes the first channels in an order of
    importance, and has them in the order in which they lie.

    So the widest spec has the weights as they are, bit for bit, whatever the order; and what lies
    in groups (a concatenation, heads, flattened pixels) is selected group by group. Orders are
    buffers: `order_i` lists the channels of the program's order i, the most important first. Norms
    have the running statistics that their network came with, until they are calibrated.

    Args:
        specs: of one program.
    """

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        self._program = read_program(specs[0]["program"])
        self._most = [max(spec[f"size{i}"] for spec in specs) for i in range(NUM_SIZES)]
        self._kept: dict[tuple[int, ...], Taken] = {}
        self._kept_for: list[tuple[Tensor, int]] = []  # orders, and how often they changed
        super().__init__(specs)
        for i, length in enumerate(_order_lengths(self._program, self._most)):
            self.register_buffer(f"order_{i}", torch.arange(length))
        for name, axis in _norms(self._program):
            length = axis_size(axis, self._most)
            for i, key in enumerate(STATISTICS):
                self.register_buffer(_flat(f"{name}.{key}"), torch.full((length,), float(i)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was found to be found again by copies, whose orders are others."""
        return {**self.__dict__, "_kept": {}, "_kept_for": []}

    def set_order(self, number: int, order: Tensor) -> None:
        """Put channels in an order of importance, the most important first."""
        self.get_buffer(f"order_{number}").copy_(order)

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec`, by parameter name of the plain module: the shared ones
        where it takes all of them, otherwise copies that gradients pass through.
        """
        weights = {}
        for name, (picked, shape) in self._taken(spec).items():
            weight: Tensor = self.weight(name)
            for dimension, index in picked:
                weight = weight.index_select(dimension, index)
            weights[name] = leading_slice(weight, shape)  # kernels, from their centre
        return weights

    def statistics(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the running statistics of `spec`, by buffer name of the plain module."""
        sizes = _sizes(spec)
        found = {}
        for name, axis in _norms(self._program):
            index = self._selected(axis, sizes)
            for key in STATISTICS:
                values = self.get_buffer(_flat(f"{name}.{key}"))
                found[f"{name}.{key}"] = values if index is None else values[index]
        return found

    def _taken(self, spec: LayerSpec) -> Taken:
        """Return what a spec takes of every weight, in the order of the plain module; found once
        for every spec, until an order changes.
        """
        orders = [self.get_buffer(f"order_{i}") for i in range(self._program.num_orders)]
        state = [(order, order._version) for order in orders]
        known = len(state) == len(self._kept_for) and all(
            one is other and version == before
            for (one, version), (other, before) in zip(state, self._kept_for, strict=True)
        )
        if not known:
            self._kept, self._kept_for = {}, state
        sizes = _sizes(spec)
        if sizes not in self._kept:
            axes_of = {
                weight_name(position, step, key): axes
                for position, step in enumerate(self._program.steps)
                for key, axes in step.weights.items()
            }
            self._kept[sizes] = {
                name: (self._picked(axes_of[name], sizes), shape)
                for name, shape in parameter_shapes(spec).items()
            }
        return self._kept[sizes]

    def _picked(self, axes: Sequence[Axis], sizes: Sequence[int]) -> list[tuple[int, Tensor]]:
        """Return the channels to take along the dimensions of which not all are taken."""
        found = ((dimension, self._selected(axis, sizes)) for dimension, axis in enumerate(axes))
        return [(dimension, index) for dimension, index in found if index is not None]

    def _selected(self, axis: Axis, sizes: Sequence[int]) -> Tensor | None:
        """Return which places of a whole axis a spec takes; None for all, and for kernels."""
        if all(self._is_whole(term, sizes) for term in axis):
            return None
        start, parts = 0, []
        for term in axis:
            parts.append(start + self._of_term(term, sizes))
            start += term_size(term, self._most)
        return torch.cat(parts)

    def _is_whole(self, term: Term, sizes: Sequence[int]) -> bool:
        chosen = (f for f in term if isinstance(f, Chosen) and f.order is not None)
        return all(sizes[f.size] == self._most[f.size] for f in chosen)

    def _of_term(self, term: Term, sizes: Sequence[int]) -> Tensor:
        """Return the places of one term, counted from its beginning."""
        places = torch.zeros(1, dtype=torch.long, device=next(self.buffers()).device)
        for factor in term:
            if isinstance(factor, Chosen) and factor.order is not None:
                most, order = self._most[factor.size], self.get_buffer(f"order_{factor.order}")
                inner = order[: sizes[factor.size]].sort().values
            else:
                most = term_size((factor,), self._most)
                inner = torch.arange(most, device=places.device)
            places = (places[:, None] * most + inner).flatten()
        return places


def _sizes(spec: LayerSpec) -> tuple[int, ...]:
    return tuple(spec[f"size{i}"] for i in range(NUM_SIZES))


def _order_lengths(program: Program, most: Sequence[int]) -> list[int]:
    lengths = {chosen.order: most[chosen.size] for chosen in program.chosen}
    return [lengths[i] for i in range(program.num_orders)]


def _norms(program: Program) -> list[tuple[str, Axis]]:
    """Return the name of every batch norm in the module, and the axis of its channels."""
    return [
        (weight_name(position, step, "").rstrip("."), step.shape[1])
        for position, step in enumerate(program.steps)
        if step.operation == "batch_norm"
    ]


def _flat(name: str) -> str:
    return name.replace(".", "_")


SELECTING_LAYERS: dict[str, type[ElasticLayer]] = {"program": SelectingLayer}

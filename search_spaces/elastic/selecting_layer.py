"""Layers that take chosen channels of their weights, wherever those lie."""

from collections.abc import Sequence

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
        self._kept: dict[tuple[int, ...], dict[str, list[tuple[int, Tensor]]]] = {}
        self._kept_for: tuple[object, ...] = ()
        super().__init__(specs)
        for i, length in enumerate(_order_lengths(self._program, self._most)):
            self.register_buffer(f"order_{i}", torch.arange(length))
        for name, axis in _norms(self._program):
            length = axis_size(axis, self._most)
            for i, key in enumerate(STATISTICS):
                self.register_buffer(_flat(f"{name}.{key}"), torch.full((length,), float(i)))

    def set_order(self, number: int, order: Tensor) -> None:
        """Put channels in an order of importance, the most important first."""
        self.get_buffer(f"order_{number}").copy_(order)

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec`, by parameter name of the plain module: the shared ones
        where it takes all of them, otherwise copies that gradients pass through.
        """
        sizes = _sizes(spec)
        taken = self._taken(sizes)
        weights = {}
        for position, step in enumerate(self._program.steps):
            for key, axes in step.weights.items():
                name = weight_name(position, step, key)
                weight: Tensor = self.weight(name)
                for dimension, index in taken[name]:
                    weight = weight.index_select(dimension, index)
                shape = tuple(axis_size(axis, sizes) for axis in axes)
                weights[name] = leading_slice(weight, shape)  # kernels, from their centre
        return {name: weights[name] for name in parameter_shapes(spec)}  # in the module's order

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

    def _taken(self, sizes: tuple[int, ...]) -> dict[str, list[tuple[int, Tensor]]]:
        """Return, of every weight, the channels to take along its dimensions; found once for every
        spec, until an order changes.
        """
        orders = [self.get_buffer(f"order_{i}") for i in range(self._program.num_orders)]
        state = tuple((id(order), order._version) for order in orders)
        if state != self._kept_for:
            self._kept, self._kept_for = {}, state
        if sizes not in self._kept:
            self._kept[sizes] = {
                weight_name(position, step, key): [
                    (dimension, index)
                    for dimension, axis in enumerate(axes)
                    if (index := self._selected(axis, sizes)) is not None
                ]
                for position, step in enumerate(self._program.steps)
                for key, axes in step.weights.items()
            }
        return self._kept[sizes]

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

"""Layers of a converted network: segments written as programs with the sizes that can be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.conversion.axes import BATCH, Atom, AtomAxis, AtomTerm
from search_spaces.conversion.axes import leaves as leaves_of
from search_spaces.conversion.graph import NetworkGraph, Operation, Value
from search_spaces.conversion.segments import Segment, batch_position
from search_spaces.layer_modules.program import step_name, weight_name
from search_spaces.layer_program import (
    BATCH as BATCH_FACTOR,
)
from search_spaces.layer_program import (
    Axis,
    Chosen,
    Factor,
    Input,
    Program,
    Step,
    Term,
)


@dataclass(frozen=True)
class Width:
    """Sizes that an atom may have.

    Args:
        dimension: which dimension chooses.
        sizes: by its options.
    """

    dimension: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One segment as a program.

    Args:
        program: what it does.
        widths: of the program's sizes, in order.
        orders: atoms whose channels the program's orders put in order.
        sources: weight's name in the layer -> tensor's name in the network.
        statistics: norm's name in the layer -> names of its running mean and variance there.
    """

    program: Program
    widths: tuple[Width, ...]
    orders: tuple[Atom, ...]
    sources: Mapping[str, str]
    statistics: Mapping[str, tuple[str, str]]


def write_layer(graph: NetworkGraph, segment: Segment, widths: Mapping[Atom, Width]) -> Layer:
    """Write a segment as a program.

    Args:
        widths: of the atoms that can be chosen.
    """
    return _Writer(graph, segment, widths).layer()


class _Writer:
    def __init__(self, graph: NetworkGraph, segment: Segment, widths: Mapping[Atom, Width]) -> None:
        self._graph, self._segment, self._all_widths = graph, segment, widths
        self._widths: list[Width] = []
        self._orders: list[Atom] = []
        self._number: dict[int, int] = {}  # id of a value -> its number in the program
        self._steps: list[Step] = []

    def layer(self) -> Layer:
        """Return the layer."""
        segment = self._segment
        inputs = []
        for i, value in enumerate(segment.reads):
            axes = [self._axis(axis) for axis in value.axes]
            position = batch_position(value) or 0
            first = [axes[position], *axes[:position], *axes[position + 1 :]]
            inputs.append(Input(tuple(first), value.dtype))
            self._number[id(value)] = i
        self._num_inputs = len(inputs)
        for value in segment.reads:  # as the network has it
            position = batch_position(value) or 0
            if position:
                order = [*range(1, position + 1), 0, *range(position + 1, len(value.axes))]
                self._permute(value, order, [self._axis(axis) for axis in value.axes])
        sources: dict[str, str] = {}
        statistics: dict[str, tuple[str, str]] = {}
        for i in segment.operations:
            self._write(self._graph.operations[i], sources, statistics)
        result = segment.result
        position = batch_position(result) or 0
        if position:
            rest = [d for d in range(len(result.axes)) if d != position]
            order = [position, *rest]
            self._permute(result, order, [self._axis(result.axes[d]) for d in order])
        elif self._number[id(result)] != self._num_inputs + len(self._steps) - 1:
            raise AssertionError("the last operation gives the result")
        return Layer(
            Program(tuple(inputs), tuple(self._steps)),
            tuple(self._widths),
            tuple(self._orders),
            sources,
            statistics,
        )

    def _permute(self, value: Value, order: Sequence[int], axes: Sequence[Axis]) -> None:
        reads = (self._number[id(value)],)
        self._steps.append(Step("permute", reads, tuple(axes), {"dims": list(order)}))
        self._number[id(value)] = self._num_inputs + len(self._steps) - 1

    def _write(
        self,
        operation: Operation,
        sources: dict[str, str],
        statistics: dict[str, tuple[str, str]],
    ) -> None:
        settings: dict[str, Any] = dict(operation.settings)
        settings |= {name: _plain(self._axis(axis)) for name, axis in operation.sizes.items()}
        step = Step(
            operation.kind,
            tuple(self._number[id(value)] for value in operation.reads),
            tuple(self._axis(axis) for axis in operation.result.axes),
            settings,
            {
                name: tuple(self._axis(axis) for axis in weight.axes)
                for name, weight in operation.weights.items()
            },
        )
        position = len(self._steps)
        self._steps.append(step)
        self._number[id(operation.result)] = self._num_inputs + position
        for name, weight in operation.weights.items():
            sources[weight_name(position, step, name)] = weight.source
        if operation.statistics is not None:
            statistics[step_name(position, step)] = operation.statistics

    def _axis(self, axis: AtomAxis) -> Axis:
        return tuple(self._term(term) for term in axis)

    def _term(self, term: AtomTerm) -> Term:
        factors: list[Factor] = []
        for atom in leaves_of(term):
            if atom is BATCH:
                factors.append(BATCH_FACTOR)
            elif (width := self._all_widths.get(atom)) is not None:
                factors.append(self._chosen(atom, width))
            elif factors and isinstance(factors[-1], int):
                factors[-1] = factors[-1] * atom.size
            else:
                factors.append(atom.size)
        return tuple(factors)

    def _chosen(self, atom: Atom, width: Width) -> Chosen:
        if width not in self._widths:
            self._widths.append(width)
        order = None
        if atom.noun != "kernel":
            if atom not in self._orders:
                self._orders.append(atom)
            order = self._orders.index(atom)
        return Chosen(self._widths.index(width), order)


def _plain(axis: Axis) -> list[Any]:
    return [[[f.size, f.order] if isinstance(f, Chosen) else f for f in term] for term in axis]

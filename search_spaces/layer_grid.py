"""Every layer a space can hold: distinct specs, and for a whole population which of them it uses.

A slot is one place of the network. Its layer follows from a few dimensions only, so all its specs
are found by one vectorised call over the grid of their options; after that a population's layers,
costs and table latencies are a matrix product (mixed-radix index) and a gather.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.errors import InputError, unknown_name
from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_slot import (
    LayerSlot,
    Network,
    NetworkLayer,
    OptionValues,
    Selected,
)
from search_spaces.layer_spec import LayerSpec
from search_spaces.memory import PeakMemory
from search_spaces.spec_costs import spec_costs

CHUNK = 8192  # rows at a time: keeps the gathered block in cache


@dataclass(frozen=True)
class Costs:
    """Analytic costs of n architectures; each array has shape n."""

    macs: npt.NDArray[
        np.float64
    ]  # multiply-accumulates of convolutions and matrix products, batch 1
    num_params: npt.NDArray[np.float64]
    activation_bytes: npt.NDArray[np.float64]  # peak, batch 1, fp32

    def row(self, i: int) -> dict[str, int]:
        """Return the costs of architecture `i` by name."""
        return {
            "macs": int(self.macs[i]),
            "num_params": int(self.num_params[i]),
            "activation_bytes": int(self.activation_bytes[i]),
        }


class LayerGrid:
    """All distinct layer specs of a space; spec 0 is "no layer here".

    Args:
        options: of every dimension, by name.
        slots: in the order of execution.
        inputs: names of the network's inputs.
        outputs: name -> slot whose output it is.

    Raises:
        InputError: a slot that reads what does not come before it, an output that is no slot.
    """

    def __init__(
        self,
        options: Mapping[str, tuple[Any, ...]],
        slots: Sequence[LayerSlot],
        inputs: Sequence[str] = ("input",),
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        self.slots = tuple(slots)
        self.inputs = tuple(inputs)
        self.outputs = dict(outputs or {})
        self._options, self._names = dict(options), list(options)
        self._check_wiring()
        known: dict[LayerSpec, int] = {}
        radix = np.zeros((len(options), len(slots)), dtype=np.float32)
        offsets, tables, start = [], [], 0
        for column, slot in enumerate(slots):
            sizes = [len(options[name]) for name in slot.depends_on]
            indices = np.indices(sizes).reshape(
                len(sizes), int(np.prod(sizes))
            )  # len(depends_on) x combinations
            values = {
                name: np.asarray(options[name])[indices[i]]
                for i, name in enumerate(slot.depends_on)
            }
            table = _spec_ids(slot, values, indices.shape[1], known)
            for i, name in enumerate(slot.depends_on):
                radix[self._names.index(name), column] = np.prod(sizes[i + 1 :], dtype=np.int64)
            offsets.append(start)
            tables.append(table)
            start += len(table)
        if start >= 2**24:
            raise AssertionError("the mixed-radix index must stay exact in float32")
        self._radix, self._offsets = radix, np.array(offsets, dtype=np.float32)
        self._tables = tables
        self._spec_of = np.concatenate(tables) if tables else np.zeros(0, dtype=np.int32)
        self.specs: tuple[LayerSpec, ...] = tuple(known)
        self._costs = spec_costs(self.specs)
        self._memory = PeakMemory(self.slots, self.inputs, self.outputs, self._options, self._costs)

    @property
    def spec_costs(self) -> npt.NDArray[np.float64]:
        """MACs, parameters and peak bytes of every spec alone; (1 + specs) x 3, the first row 0."""
        peak_bytes = self._costs.peak_bytes[:, 0]
        return np.column_stack([self._costs.macs, self._costs.num_params, peak_bytes])

    def index(self, population: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """Return which spec fills each slot: `n x slots`, 0 for none, else 1 + position in
        `specs`.
        """
        return self._spec_of[self._flat(population)]

    def network_key(self, population: npt.NDArray[np.integer]) -> npt.NDArray[np.int16]:
        """Return rows that are equal where all layers are, `n x slots`: for families whose
        different options may give the same sizes, and whose layers alone make the network.
        """
        assert len(self.specs) < 2**15, "more specs than the key's numbers"
        return self.index(population).astype(np.int16)

    def sum(
        self, population: npt.NDArray[np.integer], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Add up one value per spec over the layers of every architecture; `values`: 1 + specs,
        `values[0]` is 0.
        """
        if len(population) * len(self.slots) < len(self._spec_of):
            return np.asarray(values[self.index(population)].sum(axis=1))
        table = values[self._spec_of]
        total = np.empty(len(population))
        for rows in _chunks(len(population)):
            total[rows] = table[self._flat(population[rows])].sum(axis=1)
        return total

    def costs(self, population: npt.NDArray[np.integer]) -> Costs:
        """Compute MACs, parameters and peak activation memory of every architecture."""
        tables = (self._costs.macs[self._spec_of], self._costs.num_params[self._spec_of])
        macs, params, memory = (np.empty(len(population)) for _ in range(3))
        for rows in _chunks(len(population)):
            flat = self._flat(population[rows])
            macs[rows] = tables[0][flat].sum(axis=1)
            params[rows] = tables[1][flat].sum(axis=1)
            memory[rows] = self._memory.peak_bytes(population[rows], self._spec_of[flat])
        return Costs(macs, params, memory)

    def layers(self, genome: npt.NDArray[np.integer]) -> list[tuple[str, LayerSpec]]:
        """Return (slot name, spec) of one architecture, in order."""
        ids = self.index(np.atleast_2d(genome))[0]
        return [
            (slot.name, self.specs[i - 1]) for slot, i in zip(self.slots, ids, strict=True) if i
        ]

    def network(self, genome: npt.NDArray[np.integer]) -> Network:
        """Return one architecture as a graph of layers."""
        row = np.atleast_2d(genome)
        option = {name: self._options[name][i] for name, i in zip(self._names, row[0], strict=True)}
        producer = {name: name for name in self.inputs}  # of the value that a name stands for
        inputs: dict[str, TensorSpec] = {}
        layers = []
        before = self.inputs[0]
        for slot, spec_id in zip(self.slots, self.index(row)[0], strict=True):
            sources = slot.reads or (before,)
            names = [
                s.names[option[s.dimension]] if isinstance(s, Selected) else s for s in sources
            ]
            reads = tuple(producer[name] for name in names)
            producer[slot.name] = slot.name if spec_id else reads[0]
            before = slot.name
            if spec_id:
                spec = self.specs[spec_id - 1]
                for name, tensor in zip(reads, spec.inputs, strict=True):
                    if name in self.inputs:
                        inputs.setdefault(name, tensor)
                layers.append(NetworkLayer(slot.name, spec, reads, slot.droppable))
        return Network(
            {name: inputs[name] for name in self.inputs if name in inputs},
            tuple(layers),
            {name: producer[slot] for name, slot in self.outputs.items()},
        )

    def slot_specs(self) -> list[tuple[str, list[LayerSpec]]]:
        """Return, per slot, the distinct specs it can hold: what shared weights must cover."""
        return [
            (slot.name, [self.specs[i - 1] for i in np.unique(table) if i])
            for slot, table in zip(self.slots, self._tables, strict=True)
        ]

    def _check_wiring(self) -> None:
        known = list(self.inputs)
        for slot in self.slots:
            for source in slot.reads:
                for name in source.names.values() if isinstance(source, Selected) else (source,):
                    if name not in known:
                        raise unknown_name(f"source of {slot.name}", name, known)
            if slot.name in known:
                raise InputError(f"{slot.name}: slots and inputs must have different names")
            known.append(slot.name)
        for name in self.outputs.values():
            if name not in known[len(self.inputs) :]:
                raise unknown_name("output", name, known)

    def _flat(self, population: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        flat = population.astype(np.float32) @ self._radix
        flat += self._offsets
        return flat.astype(np.int32)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(i, i + CHUNK) for i in range(0, n, CHUNK))


def _spec_ids(
    slot: LayerSlot, values: OptionValues, n: int, known: dict[LayerSpec, int]
) -> npt.NDArray[np.int32]:
    """Number the slot's specs (adding new ones to `known`); 0 where the slot is empty."""
    fields = {
        name: np.broadcast_to(np.asarray(value), (n,)).tolist()
        for name, value in slot.fields(values).items()
    }
    present = (
        np.broadcast_to(slot.present(values), (n,)) if slot.present else np.ones(n, dtype=np.bool_)
    )
    ids = np.zeros(n, dtype=np.int32)
    for i in np.flatnonzero(present):
        spec = LayerSpec.of(slot.kind, {name: column[i] for name, column in fields.items()})
        ids[i] = known.setdefault(spec, len(known) + 1)
    return ids

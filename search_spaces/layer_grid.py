"""Every layer a space can hold: distinct specs, and for a whole population which of them it uses.

A slot is one place of the network. Its layer follows from a few dimensions only, so all its specs
are found by one vectorised call over the grid of their options; after that a population's layers,
costs and table latencies are a matrix product (mixed-radix index) and a gather.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.layer_spec import BYTES_PER_ELEMENT, LAYER_KINDS, LayerSpec

CHUNK = 8192  # rows at a time: keeps the gathered block in cache


@dataclass(frozen=True)
class LayerSlot:
    """One place of the network that holds one layer, or none.

    Args:
        name: module name in supernet and subnet, "stage1_block2".
        kind: one of `LAYER_KINDS`.
        depends_on: the dimensions from which the layer follows.
        fields: maps option values (an array by dimension name) to the kind's fields (arrays, ints
            or words).
        present: maps the same to a bool array; absent means always there.
    """

    name: str
    kind: str
    depends_on: tuple[str, ...]
    fields: Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, Any]]
    present: Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[np.bool_]] | None = None


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
    """All distinct layer specs of a space; spec 0 is "no layer here"."""

    def __init__(self, options: Mapping[str, tuple[Any, ...]], slots: Sequence[LayerSlot]) -> None:
        self.slots = tuple(slots)
        names = list(options)
        known: dict[LayerSpec, int] = {}
        radix = np.zeros((len(names), len(slots)), dtype=np.float32)
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
                radix[names.index(name), column] = np.prod(sizes[i + 1 :], dtype=np.int64)
            offsets.append(start)
            tables.append(table)
            start += len(table)
        if start >= 2**24:
            raise AssertionError("the mixed-radix index must stay exact in float32")
        self._radix, self._offsets = radix, np.array(offsets, dtype=np.float32)
        self._spec_of = np.concatenate(tables) if tables else np.zeros(0, dtype=np.int32)
        self.specs: tuple[LayerSpec, ...] = tuple(known)
        costs = [_spec_costs(spec) for spec in self.specs]
        self.spec_costs = np.array(
            [(0.0, 0.0, 0.0), *costs], dtype=np.float64
        )  # (1 + specs) x (MACs, parameters, bytes)

    def index(self, population: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """Return which spec fills each slot: `n x slots`, 0 for none, else 1 + position in
        `specs`.
        """
        return self._spec_of[self._flat(population)]

    def sum(
        self, population: npt.NDArray[np.integer], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Add up one value per spec over the layers of every architecture; `values`: 1 + specs,
        `values[0]` is 0.
        """
        table = values[self._spec_of]
        total = np.empty(len(population))
        for rows in _chunks(len(population)):
            total[rows] = table[self._flat(population[rows])].sum(axis=1)
        return total

    def costs(self, population: npt.NDArray[np.integer]) -> Costs:
        """Compute MACs, parameters and peak activation memory of every architecture."""
        tables = [np.ascontiguousarray(column) for column in self.spec_costs[self._spec_of].T]
        macs, params, memory = (np.empty(len(population)) for _ in range(3))
        for rows in _chunks(len(population)):
            flat = self._flat(population[rows])
            macs[rows] = tables[0][flat].sum(axis=1)
            params[rows] = tables[1][flat].sum(axis=1)
            memory[rows] = tables[2][flat].max(axis=1, initial=0.0)
        return Costs(macs, params, memory)

    def layers(self, genome: npt.NDArray[np.integer]) -> list[tuple[str, LayerSpec]]:
        """Return (slot name, spec) of one architecture, in order."""
        ids = self.index(np.atleast_2d(genome))[0]
        return [
            (slot.name, self.specs[i - 1]) for slot, i in zip(self.slots, ids, strict=True) if i
        ]

    def largest(self) -> list[tuple[str, LayerSpec]]:
        """Return, per slot, a spec with the greatest value of every size: what shared weights must
        cover.
        """
        result = []
        for column, slot in enumerate(self.slots):
            stop = (
                int(self._offsets[column + 1])
                if column + 1 < len(self.slots)
                else len(self._spec_of)
            )
            ids = np.unique(self._spec_of[int(self._offsets[column]) : stop])
            found = [self.specs[i - 1] for i in ids if i]
            fields = {
                name: max(spec[name] for spec in found) for name in LAYER_KINDS[slot.kind].fields
            }
            result.append((slot.name, LayerSpec.of(slot.kind, fields)))
        return result

    def _flat(self, population: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        flat = population.astype(np.float32) @ self._radix
        flat += self._offsets
        return flat.astype(np.int32)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(i, i + CHUNK) for i in range(0, n, CHUNK))


def _spec_ids(
    slot: LayerSlot, values: Mapping[str, npt.NDArray[Any]], n: int, known: dict[LayerSpec, int]
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


def _spec_costs(spec: LayerSpec) -> tuple[float, float, float]:
    kind = LAYER_KINDS[spec.kind]
    return (
        float(kind.macs(spec.values)),
        float(kind.num_params(spec.values)),
        float(kind.peak_elements(spec.values) * BYTES_PER_ELEMENT),
    )

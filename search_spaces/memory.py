"""Peak activation memory of whole populations: what is alive while each layer runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.layer_slot import LayerSlot, Selected
from search_spaces.spec_costs import SpecCosts

Ids = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.float64]


class PeakMemory:
    """Follows, for n architectures at once, which outputs later layers still read.

    Args:
        slots: in the order of execution.
        inputs: names of the network's inputs.
        outputs: name -> slot whose output it is; alive to the end.
        options: of every dimension, by name.
        costs: of every spec.
    """

    def __init__(
        self,
        slots: Sequence[LayerSlot],
        inputs: Sequence[str],
        outputs: Mapping[str, str],
        options: Mapping[str, tuple[Any, ...]],
        costs: SpecCosts,
    ) -> None:
        self._num_inputs, self._num_slots, self._costs = len(inputs), len(slots), costs
        names = [*inputs, *(slot.name for slot in slots)]
        self._number = {name: i for i, name in enumerate(names)}
        self._outputs = [self._number[name] for name in outputs.values()]
        self._column = {name: i for i, name in enumerate(options)}
        self._reads: list[list[tuple[int, npt.NDArray[np.intp]]]] = []
        for slot, before in zip(slots, [inputs[0], *(slot.name for slot in slots)], strict=False):
            self._reads.append([self._table(source, options) for source in slot.reads or (before,)])
        reads_before = all(not slot.reads for slot in slots)
        self._is_chain = reads_before and self._outputs == [len(names) - 1] and len(inputs) == 1

    def _table(
        self, source: str | Selected, options: Mapping[str, tuple[Any, ...]]
    ) -> tuple[int, npt.NDArray[np.intp]]:
        """Return (column of the population, number of the source for every option)."""
        if isinstance(source, str):
            return 0, np.full(1, self._number[source])
        found = [self._number[source.names[option]] for option in options[source.dimension]]
        return self._column[source.dimension], np.array(found)

    def peak_bytes(self, population: npt.NDArray[np.integer], ids: Ids) -> Bytes:
        """Return the most bytes alive at once, n.

        Args:
            population: n x d.
            ids: n x slots, the spec in each slot, 0 for none.
        """
        if self._is_chain:  # nothing is alive but what the running layer holds
            peak: Bytes = self._costs.peak_bytes[:, 0][ids].max(axis=1, initial=0.0)
            return peak
        sources, sizes, last_use = self._follow(population, ids)
        peak = np.zeros(len(ids))
        rows = np.arange(len(ids))
        alive = [number for number in range(self._num_inputs)]
        for slot, reads in enumerate(sources):
            # what this layer reads counts in its own peak, all else that is read later here
            needed = last_use[:, alive] > slot
            kept = [last_use[rows, read] > slot for read in reads[:2]]
            held = (needed * sizes[:, alive]).sum(axis=1)
            seen: list[npt.NDArray[np.intp]] = []
            extra = np.zeros(len(ids))
            for read in reads:
                again = np.any([read == other for other in seen], axis=0) if seen else False
                held -= np.where(again, 0, (last_use[rows, read] > slot) * sizes[rows, read])
                extra += again * sizes[rows, read]  # counted twice in the layer's own peak
                seen.append(read)
            column = kept[0] + 2 * (kept[1] if len(kept) > 1 else False)
            own = self._costs.peak_bytes[ids[:, slot], column] - extra
            peak = np.maximum(peak, np.where(ids[:, slot] > 0, held + own, 0))
            alive.append(self._num_inputs + slot)
        return peak

    def _follow(
        self, population: npt.NDArray[np.integer], ids: Ids
    ) -> tuple[list[list[npt.NDArray[np.intp]]], Bytes, npt.NDArray[np.intp]]:
        """Find what every slot reads, how large every value is, and which slot reads it last.

        Values are numbered: the network's inputs, then the slots. Returns, per slot, arrays n of
        value numbers; sizes and last uses as n x values.
        """
        n = len(ids)
        rows = np.arange(n)
        num_values = self._num_inputs + self._num_slots
        producer = np.tile(np.arange(num_values), (n, 1))  # of what a slot's name stands for
        sizes = np.zeros((n, num_values))
        last_use = np.full((n, num_values), -1)
        sources = []
        for slot, tables in enumerate(self._reads):
            present = ids[:, slot] > 0
            reads = []
            for position, (column, table) in enumerate(tables):
                option = population[:, column] if len(table) > 1 else np.zeros(n, dtype=np.intp)
                read = producer[rows, table[option]]
                reads.append(read)
                last_use[rows[present], read[present]] = slot
                given = present & (read < self._num_inputs)
                size = self._costs.input_bytes[ids[:, slot], position]
                sizes[rows[given], read[given]] = size[given]
            value = self._num_inputs + slot
            producer[:, value] = np.where(present, value, reads[0])
            sizes[:, value] = self._costs.output_bytes[ids[:, slot]]
            sources.append(reads)
        for value in self._outputs:
            last_use[rows, producer[:, value]] = self._num_slots
        return sources, sizes, last_use

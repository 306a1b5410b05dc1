"""Peak activation memory of whole populations: what is alive while each layer runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.layer_slot import LayerSlot, Selected
from search_spaces.spec_costs import MOST_FLAGS, SpecCosts

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
        by_slot = np.ascontiguousarray(ids.T)  # slots x n: one slot after the other is worked on
        values = self._follow(population, by_slot)
        held = self._held(values)
        peak = np.zeros(len(ids))
        for slot, reads in enumerate(values.sources):
            spec = by_slot[slot]
            # what this layer reads counts in its own peak, and there once for every time
            needed = [values.last_use[read, values.columns] > slot for read in reads]
            beside = held[slot]
            for i, read in enumerate(reads):
                size = values.sizes[read, values.columns]
                repeated = _any([read == other for other in reads[:i]])
                beside = beside - np.where(repeated | needed[i], size, 0)
            # the first operation cannot write over what a later one of the same layer reads too
            kept_first = needed[0] | _any([reads[0] == other for other in reads[2:]])
            kept = [kept_first, *needed[1:MOST_FLAGS]]
            column = sum(flag.astype(np.intp) << i for i, flag in enumerate(kept))
            own = self._costs.peak_bytes[spec, column]
            peak = np.maximum(peak, np.where(spec > 0, beside + own, 0))
        return peak

    def _held(self, values: "_Values") -> Bytes:
        """Return the bytes that were made before each slot and are read after it, slots x n."""
        change = np.zeros((self._num_slots + 1, len(values.columns)))
        for value, (size, end) in enumerate(zip(values.sizes, values.last_use, strict=True)):
            begin = max(value - self._num_inputs + 1, 0)
            size = np.where(end > begin, size, 0)
            change[begin] += size
            change[end, values.columns] -= size
        held: Bytes = change.cumsum(axis=0, out=change)
        return held

    def _follow(self, population: npt.NDArray[np.integer], by_slot: Ids) -> "_Values":
        """Find what every slot reads, how large every value is, and which slot reads it last."""
        n = by_slot.shape[1]
        columns = np.arange(n)
        num_values = self._num_inputs + self._num_slots
        producer = np.empty((num_values, n), dtype=np.intp)  # of what a slot's name stands for
        producer[: self._num_inputs] = np.arange(self._num_inputs)[:, None]
        sizes = np.zeros((num_values, n))
        last_use = np.full((num_values, n), -1)
        sources = []
        for slot, tables in enumerate(self._reads):
            spec = by_slot[slot]
            present = spec > 0
            reads = []
            for position, (column, table) in enumerate(tables):
                name = table[population[:, column]] if len(table) > 1 else table[0]
                read = producer[name, columns]
                reads.append(read)
                last_use[read[present], columns[present]] = slot
                given = present & (read < self._num_inputs)
                if given.any():
                    size = self._costs.input_bytes[spec, position]
                    sizes[read[given], columns[given]] = size[given]
            value = self._num_inputs + slot
            producer[value] = np.where(present, value, reads[0])
            sizes[value] = self._costs.output_bytes[spec]
            sources.append(reads)
        for value in self._outputs:
            last_use[producer[value], columns] = self._num_slots
        return _Values(sources, sizes, last_use, columns)


@dataclass(frozen=True)
class _Values:
    """What flows through n networks: their inputs, then what each slot gives, numbered in order."""

    sources: list[list[npt.NDArray[np.intp]]]  # per slot and input of it: value numbers, n
    sizes: Bytes  # values x n
    last_use: npt.NDArray[np.intp]  # values x n: a slot, -1 for none, the number of slots to stay
    columns: npt.NDArray[np.intp]  # 0 to n - 1


def _any(masks: list[npt.NDArray[np.bool_]]) -> Any:
    """Return where any of some masks holds."""
    return np.logical_or.reduce(masks) if masks else False

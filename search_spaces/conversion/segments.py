"""A network cut into layers: pieces that read and give whole batches, each with one result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from search_spaces.conversion.axes import BATCH, AtomAxis, leaves
from search_spaces.conversion.graph import NetworkGraph, Value
from search_spaces.layer_kinds.program import VIEWS

ANCHORS = frozenset({"conv", "conv_transpose", "linear", "embedding", "matmul", "attention"})
"""Operations that begin a layer; others join the layer whose result they alone read."""
PARTIAL_VIEWS = frozenset({"select", "narrow", "expand"})
"""Their results lie in memory of another size, which stays as long as they do: they are no layers'
results where what reads them can take them in.
"""


LAYER_DTYPES = ("float32", "int64")


@dataclass(frozen=True)
class Segment:
    """One layer.

    Args:
        operations: positions in the network, ascending.
        reads: values from outside.
        result: the value that others read.
    """

    operations: tuple[int, ...]
    reads: tuple[Value, ...]
    result: Value


def batch_position(value: Value) -> int | None:
    """Return which axis is the batch and nothing else; None where there is none, or where layers
    cannot take such numbers.
    """
    if value.dtype not in LAYER_DTYPES:
        return None
    for i, axis in enumerate(value.axes):
        if _is_batch(axis):
            return i
    return None


def _is_batch(axis: AtomAxis) -> bool:
    return len(axis) == 1 and leaves(axis[0]) == [BATCH]


def cut(graph: NetworkGraph, groups: Mapping[int, int]) -> list[Segment]:
    """Cut a network into layers.

    Args:
        groups: operation -> number of the block that it is in; layers stay inside or outside.
    """
    return _Cutter(graph, groups).segments()


class _Cutter:
    def __init__(self, graph: NetworkGraph, groups: Mapping[int, int]) -> None:
        self._graph, self._groups = graph, groups
        self._operations = graph.operations
        self._maker = {id(o.result): i for i, o in enumerate(self._operations)}
        self._readers: dict[int, list[int]] = {}
        for i, operation in enumerate(self._operations):
            for value in operation.reads:
                self._readers.setdefault(id(value), []).append(i)
        self._returned = {id(value) for value in graph.outputs.values()}
        self._segment = np.arange(len(self._operations))

    def segments(self) -> list[Segment]:
        """Join what belongs together, then whatever has more than one result."""
        last = list(range(len(self._operations)))  # of each segment, its last operation
        constant = self._constants()
        for i, operation in enumerate(self._operations):
            makers = [self._maker[id(v)] for v in operation.reads if id(v) in self._maker]
            for maker in makers:
                value = self._operations[maker].result
                if constant[maker] or batch_position(value) is None:
                    self._join(maker, i)
            if operation.kind in ANCHORS or operation.kind in PARTIAL_VIEWS:
                continue
            for maker in sorted(makers, reverse=True):
                value, name = self._operations[maker].result, self._segment[maker]
                alone = len(set(self._readers[id(value)])) == 1 and id(value) not in self._returned
                same_block = self._groups.get(maker) == self._groups.get(i)
                if alone and same_block and last[name] == maker and not constant[maker]:
                    self._join(maker, i)
                    last[self._segment[i]] = i
                    break
        self._hand_views_on()
        while self._merge_cycles() or self._merge_results():
            pass
        return self._listed()

    def _hand_views_on(self) -> None:
        """Join segments that are views and nothing else to the one that reads them."""
        for i in reversed(range(len(self._operations))):
            members = np.flatnonzero(self._segment == self._segment[i]).tolist()
            value = self._operations[i].result
            readers = self._readers.get(id(value), [])
            only_views = all(self._operations[m].kind in VIEWS for m in members)
            if members[-1] != i or not only_views or id(value) in self._returned:
                continue
            names = {int(self._segment[reader]) for reader in readers}
            groups = {self._groups.get(j) for j in [*members, *readers]}
            if len(names) == 1 and len(groups) == 1:
                self._join(readers[0], i)

    def _constants(self) -> list[bool]:
        """Tell which operations depend on no input."""
        constant: list[bool] = []
        for operation in self._operations:
            makers = [self._maker.get(id(value)) for value in operation.reads]
            constant.append(all(m is not None and constant[m] for m in makers))
        return constant

    def _join(self, first: int, second: int) -> None:
        old, new = self._segment[second], self._segment[first]
        self._segment[self._segment == old] = new

    def _merge_cycles(self) -> bool:
        """Join segments that need each other's results."""
        pairs = {
            (self._segment[maker], self._segment[i])
            for i, operation in enumerate(self._operations)
            for value in operation.reads
            if (maker := self._maker.get(id(value))) is not None
        }
        n = len(self._operations)
        rows, columns = np.array(sorted(pairs)).reshape(-1, 2).T
        edges = coo_matrix((np.ones(len(rows)), (rows, columns)), (n, n))
        _, component = connected_components(edges, directed=True, connection="strong")
        _, first = np.unique(component, return_index=True)
        joined = first[component][self._segment]
        changed = len(np.unique(joined)) < len(np.unique(self._segment))
        self._segment = joined
        return changed

    def _merge_results(self) -> bool:
        """Join a segment that has several results, or one without a batch, to what reads them."""
        for name in np.unique(self._segment).tolist():
            results = self._results(name)
            if len(results) > 1 or any(batch_position(value) is None for value in results):
                readers = [i for v in results for i in self._readers.get(id(v), ())]
                others = [i for i in readers if self._segment[i] != name]
                if others:
                    for other in others:
                        self._join(int(np.flatnonzero(self._segment == name)[0]), other)
                    return True
        return False

    def _results(self, name: int) -> list[Value]:
        """Return the values of a segment that others read, or the network returns."""
        return [
            value
            for i in np.flatnonzero(self._segment == name)
            for value in [self._operations[i].result]
            if id(value) in self._returned
            or any(self._segment[r] != name for r in self._readers.get(id(value), ()))
        ]

    def _listed(self) -> list[Segment]:
        members: dict[int, list[int]] = {}
        for i, name in enumerate(self._segment.tolist()):
            members.setdefault(name, []).append(i)
        used = {name: ones for name, ones in members.items() if self._results(name)}
        segments = []
        for name, operations in sorted(used.items(), key=lambda item: item[1][-1]):
            own = {id(self._operations[i].result) for i in operations}
            reads = dict.fromkeys(
                value
                for i in operations
                for value in self._operations[i].reads
                if id(value) not in own
            )
            segments.append(Segment(tuple(operations), tuple(reads), self._results(name)[0]))
        return self._ordered(segments)

    def _ordered(self, segments: Sequence[Segment]) -> list[Segment]:
        """Put every segment after those whose results it reads."""
        known = {id(value) for value in self._graph.inputs}
        waiting, ordered = list(segments), []
        while waiting:
            ready = next(s for s in waiting if all(id(v) in known for v in s.reads))
            waiting.remove(ready)
            ordered.append(ready)
            known.add(id(ready.result))
        return ordered

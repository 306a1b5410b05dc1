"""Residual blocks that a network works without: what lies between a tensor and its sum with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from search_spaces.conversion.axes import size_of
from search_spaces.conversion.graph import NetworkGraph, Operation, Value
from search_spaces.layer_kinds.program import ACTIVATIONS

NORMS = frozenset({"batch_norm", "layer_norm", "group_norm"})


@dataclass(eq=False)
class Block:
    """Operations that may be left out together.

    Args:
        entry: what the block reads, and what takes the place of `exit` without it.
        module: path of the module that adds them up.
        operations: positions in the network.
    """

    entry: Value
    exit: Value
    module: str
    operations: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Stage:
    """Blocks one after the other, of which the last ones may be left out."""

    blocks: list[Block]

    @property
    def name(self) -> str:
        """Path of what holds the blocks."""
        first = self.blocks[0].module
        return first.rpartition(".")[0] or first or "network"

    @property
    def least_depth(self) -> int:
        """How many blocks stay."""
        return len(self.blocks) // 2


def find_stages(graph: NetworkGraph) -> list[Stage]:
    """Return the chains of residual blocks of a network."""
    blocks = _chained(_Finder(graph).blocks())
    stages: list[Stage] = []
    for block in blocks:
        last = stages[-1].blocks[-1] if stages else None
        parents = [one.module.rpartition(".")[0] for one in (block, last) if one]
        if last and last.exit is block.entry and parents[0] == parents[1] and block.module:
            stages[-1].blocks.append(block)
        else:
            stages.append(Stage([block]))
    return stages


def _chained(blocks: Sequence[Block]) -> list[Block]:
    """Join sums of one module that follow each other (attention, then the feed-forward part)."""
    result: list[Block] = []
    for block in blocks:
        last = result[-1] if result else None
        if last and block.module and last.module == block.module and last.exit is block.entry:
            last.operations |= block.operations
            last.exit = block.exit
        else:
            result.append(block)
    return result


class _Finder:
    def __init__(self, graph: NetworkGraph) -> None:
        self._operations = graph.operations
        self._maker = {id(o.result): i for i, o in enumerate(graph.operations)}
        self._readers: dict[int, list[int]] = {}
        for i, operation in enumerate(graph.operations):
            for value in operation.reads:
                self._readers.setdefault(id(value), []).append(i)
        self._returned = {id(value) for value in graph.outputs.values()}
        self._constant = [False] * len(graph.operations)
        for i, operation in enumerate(graph.operations):
            makers = [self._maker.get(id(value)) for value in operation.reads]
            self._constant[i] = all(m is not None and self._constant[m] for m in makers)

    def blocks(self) -> list[Block]:
        """Return all blocks, in order; where one holds others, the others."""
        found = [
            block
            for i, operation in enumerate(self._operations)
            if operation.kind == "add" and len(operation.reads) == 2
            for block in [self._around(i, operation)]
            if block
        ]
        taken: set[int] = set()
        chosen = []
        for block in sorted(found, key=lambda one: len(one.operations)):
            if not block.operations & taken:
                taken |= block.operations
                chosen.append(block)
        return sorted(chosen, key=lambda one: max(one.operations))

    def _around(self, position: int, addition: Operation) -> Block | None:
        for entry, other in (addition.reads, addition.reads[::-1]):
            inside = self._between(entry, other)
            if inside:
                block = Block(entry, addition.result, addition.module, {*inside, position})
                self._extend(block)
                return block
        return None

    def _between(self, entry: Value, other: Value) -> set[int]:
        """Return the operations between two values, nothing where others read of them."""
        after, inside = self._after(entry), set[int]()
        if self._maker.get(id(other)) not in after:
            return set()
        waiting = [other]
        while waiting:
            maker = self._maker.get(id(waiting.pop()), -1)
            belongs = maker in after or (maker >= 0 and self._constant[maker])
            if belongs and maker not in inside:  # what else it reads (a mask) lies outside
                inside.add(maker)
                waiting += self._operations[maker].reads
        if not any(self._operations[i].weights for i in inside):
            return set()
        reads_entry = any(entry in self._operations[i].reads for i in inside)
        shapes = [[size_of(axis) for axis in value.axes] for value in (entry, other)]
        closed = all(
            id(self._operations[i].result) not in self._returned
            and all(
                reader in inside or other is self._operations[i].result
                for reader in self._readers.get(id(self._operations[i].result), ())
            )
            for i in inside
        )
        single = len(self._readers.get(id(other), ())) == 1
        return inside if closed and single and reads_entry and shapes[0] == shapes[1] else set()

    def _after(self, value: Value) -> set[int]:
        """Return the operations that depend on a value."""
        found: set[int] = set()
        waiting = [value]
        while waiting:
            for reader in self._readers.get(id(waiting.pop()), ()):
                if reader not in found:
                    found.add(reader)
                    waiting.append(self._operations[reader].result)
        return found

    def _extend(self, block: Block) -> None:
        """Take in the activation or norm after the sum where it belongs to the same module."""
        while id(block.exit) not in self._returned:
            readers = self._readers.get(id(block.exit), ())
            if len(readers) != 1:
                return
            following = self._operations[readers[0]]
            allowed = ACTIVATIONS | NORMS if block.module else ACTIVATIONS
            belongs = following.module == block.module or (
                block.module != "" and following.module.startswith(f"{block.module}.")
            )
            if following.kind not in allowed or not belongs:
                return
            block.operations.add(readers[0])
            block.exit = following.result

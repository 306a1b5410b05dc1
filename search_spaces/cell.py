"""The graph of a searched cell as data, for those that reason about it: encodings, drawings."""

from dataclasses import dataclass

from search_spaces.errors import InputError


@dataclass(frozen=True)
class CellEdge:
    """One operation of a cell.

    Args:
        operation: name of the dimension that chooses it.
        target: node that adds up what arrives.
        source: node that is read, or the name of the dimension whose value is that node's number.
    """

    operation: str
    target: int
    source: int | str


@dataclass(frozen=True)
class Cell:
    """Nodes `0 .. num_inputs - 1` are the cell's inputs, every other adds up its edges.

    Args:
        name: of the cell, as "normal".
        num_inputs: at least 1.
        edges: by ascending target; an edge reads a node below its target.
        outputs: nodes that the cell's output is made of.
        passes: the operation that passes its input on unchanged.
        cuts: the operation that passes nothing on.

    Raises:
        InputError: edges in another order, or one that reads its own target or a later node.
    """

    name: str
    num_inputs: int
    edges: tuple[CellEdge, ...]
    outputs: tuple[int, ...]
    passes: str = "skip_connect"
    cuts: str = "none"

    def __post_init__(self) -> None:
        targets = [edge.target for edge in self.edges]
        late = [e for e in self.edges if isinstance(e.source, int) and e.source >= e.target]
        if targets != sorted(targets) or late or min(targets, default=0) < self.num_inputs:
            raise InputError(
                f"cell {self.name}: expected edges by ascending target, each from a node below it, "
                f"got {late or targets}"
            )

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of all dimensions that choose something of the cell."""
        names = [name for edge in self.edges for name in (edge.operation, edge.source)]
        return tuple(name for name in names if isinstance(name, str))

"""Which sequences of operations lead from a cell's input to its output."""

from collections.abc import Iterator

import numpy as np

from predictors.encodings.encoding import Encoding, Matrix
from predictors.predictor import Vector
from search_spaces import InputError, Population, SearchSpace
from search_spaces.cell import Cell, CellEdge

LONGEST = 3  # operations: a longer path counts as its last ones, so that columns stay hundreds
Path = tuple[str, ...]  # input and operations


def paths(space: SearchSpace) -> Encoding:
    """Return the encoding that counts every path, a column each (BANANAS, arXiv:1910.11858).

    What passes its input on is no step of a path, and what cuts ends it: so networks that are equal
    because of either have equal rows, as have those that only number their nodes otherwise.

    Raises:
        InputError: a space without cells.
    """
    if not space.cells:
        raise InputError(f"{space.name} has no cells, so no paths; take another encoding")

    def encode(population: Population) -> Matrix:
        columns = [c for cell in space.cells for c in _path_counts(space, cell, population)]
        return np.stack(columns, axis=1)

    return encode


def _path_counts(space: SearchSpace, cell: Cell, population: Population) -> list[Vector]:
    """Count the paths that reach the cell's output, n for each; the same paths for any rows."""
    arriving: dict[int, dict[Path, Vector]] = {
        node: {(f"input{node}",): np.ones(len(population))} for node in range(cell.num_inputs)
    }
    for edge in cell.edges:
        reached = arriving.setdefault(edge.target, {})
        for source, operation, taken in _choices(space, edge, population):
            if operation == cell.cuts:
                continue
            for path, count in arriving.get(source, {}).items():
                longer = path if operation == cell.passes else (*path, operation)[-LONGEST:]
                reached[longer] = reached.get(longer, 0.0) + count * taken
    leaving: dict[Path, Vector] = {}
    for node in cell.outputs:
        for path, count in arriving[node].items():
            leaving[path] = leaving.get(path, 0.0) + count
    return [leaving[path] for path in sorted(leaving)]


def _choices(
    space: SearchSpace, edge: CellEdge, population: Population
) -> Iterator[tuple[int, str, Vector]]:
    """Yield every source and operation that an edge can have, and who has them (1 or 0), n."""
    names = [dimension.name for dimension in space.dimensions]
    column = names.index(edge.operation)
    if isinstance(edge.source, str):
        chosen = names.index(edge.source)
        options = enumerate(space.dimensions[chosen].options)
        sources = [(int(node), population[:, chosen] == i) for i, node in options]
    else:
        sources = [(edge.source, np.ones(len(population), dtype=np.bool_))]
    for node, reads in sources:
        for i, operation in enumerate(space.dimensions[column].options):
            yield node, str(operation), (reads & (population[:, column] == i)).astype(np.float64)

"""NAS-Bench-201: cells of 4 nodes and 6 edges, one of 5 operations on each (arXiv:2001.00326).

Every node is the sum of what its edges bring; an edge brings its operation applied to an earlier
node. One cell is searched and repeated in three stages, with a residual block before the second
and the third. Tables of accuracies and latencies are published for all cells.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Architecture, Value
from search_spaces.cell import Cell, CellEdge
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot, fixed_slot
from search_spaces.space import Dimension, Population, SearchSpace

# the two that cost nothing first, the one that connects before the one that does not: so the
# smallest cell is a network
OPERATIONS = ("skip_connect", "none", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
SKIP, NONE = 0, 1
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), as the text form lists them
NUM_CELLS = len(OPERATIONS) ** len(EDGES)

# Multiply-accumulates of the published network for 32 x 32 images: stem, 3 stages of 5 cells, a
# residual block before the second and the third, classifier for 10 classes. 16 channels at 32 px
# cost as much as 32 at 16 px and 64 at 8 px.
CELLS = 15
MACS_PER_CONV_1X1 = 16 * 16 * 32 * 32
FIXED_MACS = (
    3 * 16 * 9 * 32 * 32  # stem
    + 2 * (9 + 18) * 16 * 32 * 16 * 16  # both 3x3 convolutions of two residual blocks
    + 2 * 16 * 32 * 16 * 16  # their 1x1 shortcuts
    + 64 * 10
)

_RADIX = len(OPERATIONS) ** np.arange(len(EDGES), dtype=np.int16)
_NODE = re.compile(r"\|([a-z0-9_]+)~(\d)(?=\|)")


@dataclass(frozen=True)
class NasBench201:
    """Every number of one preset: the same cells, more or less often."""

    name: str
    resolution: int
    channels: int  # of the first stage; doubled before the second and the third
    cells_per_stage: int


PUBLISHED = NasBench201("nasbench201", resolution=32, channels=16, cells_per_stage=CELLS // 3)
DIGITS = NasBench201("nasbench201-digits", resolution=8, channels=8, cells_per_stage=1)


def nasbench201(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Return the space of 15,625 cells in the published network, for images of 32 px."""
    return nasbench201_space(PUBLISHED, num_classes, input_channels)


def nasbench201_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Return the same cells, one a stage, for images of 8 px: for a first try."""
    return nasbench201_space(DIGITS, num_classes, input_channels)


def nasbench201_space(preset: NasBench201, num_classes: int, input_channels: int) -> SearchSpace:
    """Build the space of a preset; `parse` reads `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    `equivalence_key` is one number a cell, equal where the networks are: a skipped edge passes the
    terms of a node's sum on, a sum has no order, and what no input reaches adds nothing. There are
    4,930 such networks. NAS-Bench-201's own 6,466 classes follow from a rule on strings that sees
    fewer equalities (it nests sums that were skipped through, and keeps a `#` for some dead ends):
    each of its classes lies within one key here.

    Every operation is a layer, `none` too, whether or not an input reaches it, as in the published
    code; a skip is no layer. Weights belong to (cell, edge, operation).

    Raises:
        InputError: less than one class, channel or cell, a resolution that cannot be halved twice.
    """
    numbers = (num_classes, input_channels, preset.channels, preset.cells_per_stage)
    if min(numbers) < 1 or preset.resolution < 4 or preset.resolution % 4:
        raise InputError(
            f"{preset.name}: expected at least one class, channel and cell and a resolution of 4, "
            f"8, 12, ...; got {num_classes} classes, {input_channels} channels, {preset}"
        )
    return SearchSpace(
        f"{preset.name}@1",
        [Dimension(_edge_name(source, node), OPERATIONS) for source, node in EDGES],
        _slots(preset, num_classes, input_channels),
        _parse,
        {"num_classes": num_classes, "input_channels": input_channels},
        network_key,
        cells=(CELL,),
    )


def _slots(preset: NasBench201, num_classes: int, input_channels: int) -> list[LayerSlot]:
    channels, side = preset.channels, preset.resolution
    stem = {"in_channels": input_channels, "out_channels": channels, "kernel": 3, "stride": 1}
    slots = [fixed_slot("stem", "conv_norm", stem | _square(side) | {"activation": "none"})]
    for stage in (1, 2, 3):
        if stage > 1:
            pair = {"in_channels": channels, "out_channels": 2 * channels}
            slots.append(
                fixed_slot(f"reduction{stage - 1}", "reduction_block", pair | _square(side))
            )
            channels, side = 2 * channels, side // 2
        for number in range(1, preset.cells_per_stage + 1):
            slots += _cell(f"stage{stage}_cell{number}", slots[-1].name, channels, side)
    slots.append(fixed_slot("last_activation", "norm_relu", _square(side) | {"channels": channels}))
    end = {"hidden_channels": 0, "num_classes": num_classes, "activation": "none"}
    whole = _square(side) | {"in_channels": channels} | end
    return [*slots, fixed_slot("classifier", "classifier", whole)]


def _square(side: int) -> dict[str, Any]:
    return {"height": side, "width": side}


def _cell(name: str, source: str, channels: int, side: int) -> list[LayerSlot]:
    """Return a cell's edges and sums, node by node; what comes last is its output."""
    size = _square(side) | {"channels": channels}
    slots, nodes = [], [source]
    for node in (1, 2, 3):
        ends = []
        for _, origin in _edges_into(node):
            ends.append(f"{name}_node{node}_from{origin}")
            slots.append(_edge(ends[-1], _edge_name(origin, node), nodes[origin], size))
        if len(ends) > 1:
            total = size | {"num_inputs": len(ends)}
            slots.append(fixed_slot(f"{name}_node{node}", "sum", total, tuple(ends)))
        nodes.append(slots[-1].name)
    return slots


def _edge(name: str, dimension: str, read: str, size: Mapping[str, Any]) -> LayerSlot:
    return LayerSlot(
        name,
        "cell_operation",
        (dimension,),
        lambda values: {**size, "stride": 1, "operation": values[dimension]},
        present=lambda values: values[dimension] != "skip_connect",
        reads=(read,),
    )


def cell_text(architecture: Architecture) -> str:
    """Return the published text form, which `SearchSpace.parse` reads back."""
    operations = architecture.values
    nodes = []
    for node in (1, 2, 3):
        edges = [f"{operations[_edge_name(source, node)]}~{source}" for source in range(node)]
        nodes.append("|" + "|".join(edges) + "|")
    return "+".join(nodes)


def cell_macs(population: Population) -> npt.NDArray[np.float64]:
    """Return the multiply-accumulates of the published CIFAR-10 networks, n.

    Every operation counts, whether or not an input reaches it: frameworks execute it all the same.
    """
    costs = np.array([0, 0, 0, 1, 9])[population].sum(axis=1)
    return np.asarray(FIXED_MACS + CELLS * MACS_PER_CONV_1X1 * costs, dtype=np.float64)


def cell_connected(population: Population) -> npt.NDArray[np.bool_]:
    """Tell where the cell's input reaches its output through operations other than none, n."""
    reached = [np.ones(len(population), dtype=np.bool_)]
    for node in (1, 2, 3):
        arrives = [reached[s] & (population[:, e] != NONE) for e, s in _edges_into(node)]
        reached.append(np.logical_or.reduce(arrives))
    return reached[-1]


def network_key(population: Population) -> npt.NDArray[np.int16]:
    """Return a number of the network that each cell is, `n x 1`."""
    keys: npt.NDArray[np.int16] = _key_of_cell()[population @ _RADIX]
    return keys[:, None]


def _edge_name(source: int, node: int) -> str:
    return f"node{node}~{source}"


CELL = Cell(
    "cell",
    num_inputs=1,
    edges=tuple(CellEdge(_edge_name(*edge), edge[1], edge[0]) for edge in EDGES),
    outputs=(3,),
)


def _edges_into(node: int) -> list[tuple[int, int]]:
    """Return (position in EDGES, source) of every edge into a node."""
    return [(e, source) for e, (source, target) in enumerate(EDGES) if target == node]


@cache
def _key_of_cell() -> npt.NDArray[np.int16]:
    """Number the networks of all cells, 15,625; made once, then every population is a gather."""
    numbers: dict[tuple[str, ...], int] = {}
    cells = np.arange(NUM_CELLS)[:, None] // _RADIX % len(OPERATIONS)
    keys = [numbers.setdefault(_terms(cell), len(numbers)) for cell in cells.tolist()]
    return np.array(keys, dtype=np.int16)


def _terms(cell: list[int]) -> tuple[str, ...]:
    """Return the sorted terms that the output of a cell is the sum of."""
    nodes: list[tuple[str, ...]] = [("input",)]
    for node in (1, 2, 3):
        terms: list[str] = []
        for edge, source in _edges_into(node):
            if cell[edge] == SKIP:
                terms += nodes[source]
            elif cell[edge] != NONE and nodes[source]:
                terms.append(f"{OPERATIONS[cell[edge]]}({' + '.join(nodes[source])})")
        nodes.append(tuple(sorted(terms)))
    return nodes[-1]


def _parse(text: str) -> Mapping[str, Value]:
    """Read values by dimension name, or the published text form."""
    if text.lstrip().startswith("{"):
        values: Mapping[str, Value] = json.loads(text)
        return values
    found = [(operation, int(source)) for operation, source in _NODE.findall(text)]
    if len(found) == len(EDGES):
        named = dict(zip(EDGES, found, strict=True))
        values = {_edge_name(*edge): operation for edge, (operation, _) in named.items()}
        sources_agree = all(source == edge[0] for edge, (_, source) in named.items())
        if sources_agree and _written(values) == text.strip():
            return values
    raise InputError("expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")


def _written(values: Mapping[str, Value]) -> str:
    return cell_text(Architecture("", tuple(values.items())))

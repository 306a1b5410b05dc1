"""NASNet-like cells: two cells are searched, a normal and a reduction one, and stacked
(arXiv:1707.07012; operations and skeleton of DARTS, arXiv:1806.09055).

A node adds up two sides, each an operation on the output of either of the two cells before or of
an earlier node; a cell's output is all its nodes joined.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Architecture, Value
from search_spaces.cell import Cell, CellEdge
from search_spaces.errors import InputError
from search_spaces.genotype import genotype_parts
from search_spaces.layer_slot import LayerSlot, OptionValues, Selected, fixed_slot
from search_spaces.space import Dimension, Population, SearchSpace

OPERATIONS = (
    "skip_connect",
    "max_pool_3x3",
    "avg_pool_3x3",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "sep_conv_3x3",
    "sep_conv_5x5",
)
CELLS = ("normal", "reduce")  # as the published text form calls them
SIDES = (1, 2)
STEM_FACTOR = 3  # the stem is this much wider than the first cells


@dataclass(frozen=True)
class NasNet:
    """Every number of one preset."""

    name: str
    resolution: int
    num_nodes: int  # of a cell
    num_cells: int  # reduction cells stand after a third and two thirds
    channels: int  # of a node in the first cells; a reduction doubles them
    operations: tuple[str, ...] = OPERATIONS


def nasnet_space(preset: NasNet, num_classes: int, input_channels: int) -> SearchSpace:
    """Build the space of a preset for images of `input_channels` and `num_classes`.

    Each of the two cells has (product over its nodes of 2, 3, ... sources)^2 times operations^(2
    nodes) forms; `equivalence_key` is equal where nodes differ by the order of their sides only.
    Weights belong to (cell, node, side, operation), whatever source the side reads.

    Raises:
        InputError: less than one class or channel, a preset without nodes or of fewer than 3 cells,
            an odd number of channels, a resolution that cannot be halved twice, an unknown
            operation.
    """
    if min(num_classes, input_channels) < 1:
        raise InputError(
            f"{preset.name}: expected num_classes and input_channels >= 1, "
            f"got {num_classes} and {input_channels}"
        )
    _check(preset)
    dimensions = []
    for cell in CELLS:
        for node in range(1, preset.num_nodes + 1):
            for side in SIDES:
                dimensions.append(Dimension(_source(cell, node, side), tuple(range(node + 1))))
                operations = _by_cost(preset.operations, cell)
                dimensions.append(Dimension(_operation(cell, node, side), operations))
    return SearchSpace(
        f"{preset.name}@1",
        dimensions,
        _slots(preset, num_classes, input_channels),
        lambda text: _parse(preset, text),
        {"num_classes": num_classes, "input_channels": input_channels},
        network_key=lambda population: _sorted_sides(preset, population),
        cells=[_graph(preset, cell) for cell in CELLS],
    )


def _graph(preset: NasNet, cell: str) -> Cell:
    """Return a cell as data; sources count the two inputs first, then the nodes."""
    nodes = range(1, preset.num_nodes + 1)
    edges = [
        CellEdge(_operation(cell, node, side), node + 1, _source(cell, node, side))
        for node in nodes
        for side in SIDES
    ]
    return Cell(cell, 2, tuple(edges), outputs=tuple(node + 1 for node in nodes))


def _by_cost(operations: tuple[str, ...], cell: str) -> tuple[str, ...]:
    """Order operations by their MACs: a skip costs nothing, unless it halves the image."""
    first = ("max_pool_3x3", "avg_pool_3x3") if cell == "reduce" else ()
    order = dict.fromkeys((*first, *OPERATIONS))
    return tuple(operation for operation in order if operation in operations)


def genotype_text(architecture: Architecture) -> str:
    """Return the published text form, `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)`, which
    `SearchSpace.parse` reads back.
    """
    values = architecture.values
    num_nodes = len(values) // (2 * len(SIDES) * len(CELLS))
    places = [(node, side) for node in range(1, num_nodes + 1) for side in SIDES]
    parts = []
    for cell in CELLS:
        edges = [(values[_operation(cell, *p)], values[_source(cell, *p)]) for p in places]
        parts.append(f"{cell}={edges}, {cell}_concat={_joined(num_nodes)}")
    return f"Genotype({', '.join(parts)})"


def _check(preset: NasNet) -> None:
    unknown = set(preset.operations) - set(OPERATIONS)
    faults = {
        "at least 1 node": preset.num_nodes < 1,
        "at least 3 cells": preset.num_cells < 3,
        "an even number of channels": preset.channels < 2 or preset.channels % 2,
        "a resolution of 4, 8, 12, ...": preset.resolution < 4 or preset.resolution % 4,
        f"operations of {', '.join(OPERATIONS)}": unknown or not preset.operations,
    }
    for expected, wrong in faults.items():
        if wrong:
            raise InputError(f"{preset.name}: expected {expected}, got {preset}")


def _source(cell: str, node: int, side: int) -> str:
    return f"{cell}.node{node}.source{side}"


def _operation(cell: str, node: int, side: int) -> str:
    return f"{cell}.node{node}.operation{side}"


def _sorted_sides(preset: NasNet, population: Population) -> npt.NDArray[np.int16]:
    """Put the sides of every node in one order: they are added up."""
    n, nodes = len(population), len(CELLS) * preset.num_nodes
    choices = population.reshape(n, nodes, len(SIDES), 2)
    side = choices[..., 0] * len(preset.operations) + choices[..., 1]
    key: npt.NDArray[np.int16] = np.sort(side, axis=2).reshape(n, nodes * len(SIDES))
    return key.astype(np.int16)


# --- layers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """What a layer gives."""

    name: str
    channels: int
    side: int


def _slots(preset: NasNet, num_classes: int, input_channels: int) -> list[LayerSlot]:
    stem = _Image("stem", STEM_FACTOR * preset.channels, preset.resolution)
    size = {"height": stem.side, "width": stem.side, "kernel": 3, "stride": 1}
    width = {"in_channels": input_channels, "out_channels": stem.channels}
    slots = [fixed_slot("stem", "conv_norm", size | width | {"activation": "none"}, ("input",))]
    reductions = {preset.num_cells // 3, 2 * preset.num_cells // 3}
    before, last = stem, stem
    channels = preset.channels
    for position in range(preset.num_cells):
        reduces = position in reductions
        channels = 2 * channels if reduces else channels
        cell_slots, output = _cell(preset, f"cell{position + 1}", reduces, channels, before, last)
        slots += cell_slots
        before, last = last, output
    end: dict[str, Any] = {"hidden_channels": 0, "num_classes": num_classes, "activation": "none"}
    return [*slots, fixed_slot("classifier", "classifier", _read(last) | end, (last.name,))]


def _read(image: _Image) -> dict[str, Any]:
    return {"in_channels": image.channels, "height": image.side, "width": image.side}


def _cell(
    preset: NasNet, name: str, reduces: bool, channels: int, before: _Image, last: _Image
) -> tuple[list[LayerSlot], _Image]:
    """Return a cell's slots and its output, which joins all nodes."""
    slots, states = [], []
    for i, image in enumerate((before, last), start=1):
        states.append(f"{name}_input{i}")
        fields = _read(image) | {"out_channels": channels}
        if image.side == last.side:
            kind, fields = "relu_conv_norm", fields | {"kernel": 1, "stride": 1}
        else:
            kind = "factorized_reduce"
        slots.append(fixed_slot(states[-1], kind, fields, (image.name,)))
    side = last.side // 2 if reduces else last.side
    size = {"channels": channels, "height": side, "width": side}
    for node in range(1, preset.num_nodes + 1):
        ends = []
        for s in SIDES:
            ends.append(f"{name}_node{node}_side{s}")
            slots.append(_side(ends[-1], reduces, channels, last.side, node, s, tuple(states)))
        states.append(f"{name}_node{node}")
        slots.append(fixed_slot(states[-1], "sum", size | {"num_inputs": 2}, tuple(ends)))
    nodes = tuple(states[2:])
    slots.append(fixed_slot(name, "concat", size | {"num_inputs": len(nodes)}, nodes))
    return slots, _Image(name, len(nodes) * channels, side)


def _side(
    name: str, reduces: bool, channels: int, side: int, node: int, s: int, states: tuple[str, ...]
) -> LayerSlot:
    """Return one side of a node: its operation on one of `states`, of `side` pixels at the cell's
    inputs; drop-path spares skips alone.
    """
    cell = CELLS[reduces]
    source, operation = _source(cell, node, s), _operation(cell, node, s)

    def stride(values: OptionValues) -> npt.NDArray[Any]:
        return np.where(reduces & (values[source] < 2), 2, 1)

    def fields(values: OptionValues) -> dict[str, Any]:
        height = np.where(reduces & (values[source] >= 2), side // 2, side)
        return {
            "channels": channels,
            "height": height,
            "width": height,
            "stride": stride(values),
            "operation": values[operation],
        }

    return LayerSlot(
        name,
        "cell_operation",
        (source, operation),
        fields,
        present=lambda values: (values[operation] != "skip_connect") | (stride(values) > 1),
        reads=(Selected(source, dict(enumerate(states))),),
        droppable=True,
    )


# --- text -----------------------------------------------------------------------------------------


def _joined(num_nodes: int) -> list[int]:
    return list(range(2, 2 + num_nodes))


def _parse(preset: NasNet, text: str) -> Mapping[str, Value]:
    """Read values by dimension name, or the published text form."""
    if text.lstrip().startswith("{"):
        data: Mapping[str, Value] = json.loads(text)
        return data
    parts = genotype_parts(text)
    expected = [name for cell in CELLS for name in (cell, f"{cell}_concat")]
    if sorted(parts) != sorted(expected):
        raise InputError(f"expected {', '.join(expected)}, got {', '.join(parts) or 'nothing'}")
    values: dict[str, Value] = {}
    places = [(node, side) for node in range(1, preset.num_nodes + 1) for side in SIDES]
    for cell in CELLS:
        edges, joined = parts[cell], parts[f"{cell}_concat"]
        if len(edges) != len(places) or list(joined) != _joined(preset.num_nodes):
            raise InputError(
                f"expected {len(places)} operations a cell and nodes "
                f"{_joined(preset.num_nodes)} joined"
            )
        for place, (operation, source) in zip(places, edges, strict=True):
            values[_source(cell, *place)] = source
            values[_operation(cell, *place)] = operation
    return values


# --- presets --------------------------------------------------------------------------------------

DIGITS = NasNet(
    name="nasnet-digits",
    resolution=8,
    num_nodes=2,
    num_cells=3,
    channels=8,
    operations=("skip_connect", "max_pool_3x3", "dil_conv_3x3", "sep_conv_3x3"),
)
CIFAR = NasNet(name="nasnet-cifar", resolution=32, num_nodes=3, num_cells=6, channels=12)
DARTS = NasNet(name="nasnet-darts", resolution=32, num_nodes=4, num_cells=20, channels=36)


def nasnet_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Images of 8 px, 3 cells of 2 nodes: for a first try."""
    return nasnet_space(DIGITS, num_classes, input_channels)


def nasnet_cifar(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Images of 32 px, 6 cells of 3 nodes: trains on a CPU."""
    return nasnet_space(CIFAR, num_classes, input_channels)


def nasnet_darts(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """The published space of DARTS on CIFAR-10 without its auxiliary head: 20 cells of 4 nodes,
    6.9e21 architectures.
    """
    return nasnet_space(DARTS, num_classes, input_channels)

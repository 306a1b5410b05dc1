"""Dimensions and slots of a network that was read and cut."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from search_spaces.conversion.axes import Atom, leaves, size_of
from search_spaces.conversion.blocks import Stage
from search_spaces.conversion.choices import Choice
from search_spaces.conversion.graph import NetworkGraph, Value
from search_spaces.conversion.layers import Layer, Width, write_layer
from search_spaces.conversion.segments import Segment
from search_spaces.conversion.space_file import SizeChoice, SlotPlan, SpacePlan, versioned_name
from search_spaces.space import Dimension


class PlanBuilder:
    """Puts dimensions and slots together."""

    def __init__(
        self, name: str, graph: NetworkGraph, stages: list[Stage], segments: list[Segment]
    ) -> None:
        self.name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "network"
        self._graph, self._stages, self._segments = graph, stages, segments

    def plan(
        self, found: Sequence[Choice], example: tuple[Tensor, ...]
    ) -> tuple[SpacePlan, list[Layer]]:
        """Return the space, and the layer of every slot."""
        depth_of = self._depths()
        widths = {
            atom: Width(choice.name, sizes)
            for choice in found
            for atom, sizes in choice.sizes.items()
        }
        names = self._slot_names()
        inputs = _input_names(self._graph.inputs, example)
        read_name = {id(v): n for v, n in zip(self._graph.inputs, inputs, strict=True)}
        read_name |= {id(s.result): n for s, n in zip(self._segments, names, strict=True)}
        layers, slots = [], []
        for name, segment in zip(names, self._segments, strict=True):
            depth = depth_of.get(segment.operations[-1])
            segment = self._passing_on(segment, depth is not None)
            layer = write_layer(self._graph, segment, widths)
            layers.append(layer)
            slots.append(
                SlotPlan(
                    name=name,
                    program=layer.program.to_text(),
                    sizes=tuple(SizeChoice(w.dimension, w.sizes) for w in layer.widths),
                    reads=tuple(read_name[id(value)] for value in segment.reads),
                    depth=depth,
                    orders=tuple(_channel_names(layer.orders, found)),
                )
            )
        used = {choice.dimension for slot in slots for choice in slot.sizes}
        dimensions = [
            *(Dimension(name, options) for name, options in self._depth_options().items()),
            *(self._dimension(choice, depth_of) for choice in found if choice.name in used),
        ]
        outputs = {key: read_name[id(value)] for key, value in self._graph.outputs.items()}
        plan = SpacePlan(
            name=f"{self.name}-",
            dimensions=tuple(dimensions),
            slots=tuple(slots),
            modality=_modality(example),
            inputs=tuple(inputs),
            outputs=outputs,
            settings=_settings(self._graph, example),
        )
        return replace(plan, name=versioned_name(plan)), layers

    def _depth_names(self) -> list[str]:
        names: list[str] = []
        for stage in self._stages:
            name = f"{stage.name}.depth"
            while name in names:
                name = f"{stage.blocks[0].module or 'network'}.depth{len(names)}"
            names.append(name)
        return names

    def _depth_options(self) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(range(stage.least_depth, len(stage.blocks) + 1))
            for name, stage in zip(self._depth_names(), self._stages, strict=True)
        }

    def _depths(self) -> dict[int, tuple[str, int]]:
        """Return, of operations in blocks that may be left out, the depth they begin at."""
        return {
            i: (name, number)
            for name, stage in zip(self._depth_names(), self._stages, strict=True)
            for number, block in enumerate(stage.blocks, start=1)
            if number > stage.least_depth
            for i in block.operations
        }

    def _dimension(self, choice: Choice, depth_of: Mapping[int, tuple[str, int]]) -> Dimension:
        """Return a width; where one block alone has it, it counts only with that block."""
        atoms = set(choice.atoms)
        places = {
            depth_of.get(i)
            for i, operation in enumerate(self._graph.operations)
            for weight in operation.weights.values()
            for axis in weight.axes
            for term in axis
            if atoms & set(leaves(term))
        }
        active_when = None
        if len(places) == 1 and (place := places.pop()) is not None:
            options = self._depth_options()[place[0]]
            having = frozenset(i for i, depth in enumerate(options) if depth >= place[1])
            active_when = (place[0], having)
        return Dimension(choice.name, choice.sizes[choice.atoms[0]], active_when)

    def _passing_on(self, segment: Segment, may_be_absent: bool) -> Segment:
        """Let a layer that may be absent read first what takes its place."""
        if not may_be_absent:
            return segment
        blocks = [block for stage in self._stages for block in stage.blocks]
        block = next(b for b in blocks if segment.operations[-1] in b.operations)
        inside = {id(self._graph.operations[i].result) for i in block.operations}
        first = next(v for v in segment.reads if v is block.entry or id(v) in inside)
        reads = (first, *(value for value in segment.reads if value is not first))
        return replace(segment, reads=reads)

    def _slot_names(self) -> list[str]:
        names: list[str] = []
        for segment in self._segments:
            operations = [self._graph.operations[i] for i in segment.operations]
            first = next((o for o in operations if o.weights and o.module), operations[-1])
            base = (first.module or first.kind).replace(".", "_")
            name, number = base, 1
            while name in names or name in nn.ModuleDict.__dict__ or hasattr(nn.ModuleDict, name):
                number += 1
                name = f"{base}_{number}"
            names.append(name)
        return names


def _channel_names(orders: Sequence[Atom], found: Sequence[Choice]) -> list[str]:
    """Name channels so that equal names are the same channels in every layer."""
    named = {
        atom: choice.name if i == 0 else f"{choice.name}/{i}"
        for choice in found
        for i, atom in enumerate(choice.atoms)
    }
    return [named[atom] for atom in orders]


def _input_names(values: Sequence[Value], example: tuple[Tensor, ...]) -> list[str]:
    if _modality(example) == "tokens":
        return ["ids", "mask", *(value.name for value in values[2:])][: len(values)]
    return ["input"] if len(values) == 1 else [value.name for value in values]


def _modality(example: tuple[Tensor, ...]) -> str:
    first = example[0]
    if not first.is_floating_point():
        return "tokens"
    return "image" if first.ndim == 4 else "sequence"


def _settings(graph: NetworkGraph, example: tuple[Tensor, ...]) -> dict[str, int]:
    """Return what the data must agree with."""
    settings = {}
    if len(graph.outputs) == 1:
        (output,) = graph.outputs.values()
        if len(output.axes) == 2:
            settings["num_classes"] = size_of(output.axes[1])
    if _modality(example) == "image":
        settings["input_channels"] = example[0].shape[1]
    return settings

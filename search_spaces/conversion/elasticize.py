"""A trained network becomes a search space and a supernet that holds it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from search_spaces.conversion.axes import Atom, leaves, size_of
from search_spaces.conversion.blocks import Stage, find_stages
from search_spaces.conversion.choices import Choice, axes_of, choices
from search_spaces.conversion.graph import NetworkGraph, Value
from search_spaces.conversion.importance import sort_by_importance
from search_spaces.conversion.layers import Layer, Width, write_layer
from search_spaces.conversion.rules import Reader
from search_spaces.conversion.segments import Segment, batch_position, cut
from search_spaces.conversion.space_file import SizeChoice, SlotPlan, SpacePlan, versioned_name
from search_spaces.conversion.tracing import Traced, trace
from search_spaces.elastic.selecting_layer import STATISTICS
from search_spaces.errors import InputError
from search_spaces.space import Dimension, SearchSpace
from search_spaces.supernet import Supernet

WIDTHS = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Stays:
    """Sizes that stay as they are, and why."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class Elastic:
    """A network that became elastic.

    Args:
        plan: its search space as data.
        space: the same, built.
        supernet: holds its weights; the largest architecture is the network itself.
        stays: what cannot be chosen, and why.
        notes: what else there is to know.
    """

    plan: SpacePlan
    space: SearchSpace
    supernet: Supernet
    stays: tuple[Stays, ...]
    notes: tuple[str, ...]


def elasticize(
    model: nn.Module,
    example_input: Tensor | tuple[Tensor, ...],
    *,
    name: str | None = None,
    fixed: Sequence[str] = (),
    widths: Sequence[float] = WIDTHS,
    options: Mapping[str, Sequence[float]] | None = None,
    depths: bool = True,
    kernels: bool = True,
) -> Elastic:
    """Find what can be chosen of a trained network, and let smaller ones share its weights.

    Channels that must change together do: those of residual sums, concatenations, depthwise
    convolutions, norms. Attention takes some of its heads, kernels their centre, and residual
    blocks that the network works without may be left out, the last of a stage first. Smaller
    networks take the channels whose weights are largest (arXiv:1608.08710); the largest one is the
    network itself, bit for bit.

    Args:
        model: any module that `torch.export` can trace; it is not changed.
        example_input: what it takes, n x ...: one tensor, or a tuple of them.
        name: of the search space; the class of the network without.
        fixed: patterns of modules whose sizes stay ("layer1", "layer*.conv1").
        widths: shares of whole widths that can be chosen, ascending; 1 is always one.
        options: pattern of dimensions -> shares for these alone.
        depths, kernels: whether blocks may be left out, and kernels be smaller.

    Raises:
        InputError: a network that cannot be traced, or of which nothing can be chosen; an example
            input that it does not take; a pattern that fits nothing.
    """
    shares = _shares(widths, "widths")
    limits = {key: _shares(value, key) for key, value in (options or {}).items()}
    example = example_input if isinstance(example_input, tuple) else (example_input,)
    traced = trace(model, example)
    _check_patterns(model, fixed)
    reader = Reader(traced, fixed)
    graph = reader.graph()
    for value in graph.outputs.values():
        if batch_position(value) is None:
            raise InputError("expected outputs with an axis of the batch, one sample after another")
    if not kernels:
        for atom in _atoms(graph):
            if atom.noun == "kernel":
                atom.fix("kernels are to stay")
    stages = find_stages(graph) if depths else []
    stages, segments = _cut(graph, [s for s in stages if not _is_named(s, fixed)])
    found = choices(graph, segments, shares, limits)
    builder = _Builder(type(model).__name__ if name is None else name, graph, stages, segments)
    plan, layers = builder.plan(found, example)
    if not plan.dimensions:
        reasons = ", ".join(dict.fromkeys(stay.reason for stay in _stays(graph))) or "no weights"
        raise InputError(f"nothing of {builder.name} can be chosen: {reasons}")
    space = plan.space()
    supernet = Supernet(space)
    _load(supernet, plan, layers, traced, reader.computed)
    elastic = Elastic(plan, space, supernet, tuple(_stays(graph)), tuple(_notes(graph, traced)))
    sort_by_importance(elastic)
    _check_same(model, elastic, example)
    return elastic


def _shares(given: Sequence[float], noun: str) -> tuple[float, ...]:
    try:
        shares = sorted({float(share) for share in given} | {1.0})
    except (TypeError, ValueError):
        raise InputError(f"{noun}: expected shares of whole widths, got {given!r}") from None
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"{noun}: expected shares above 0 and up to 1, got {list(given)}")
    return tuple(shares)


def _check_patterns(model: nn.Module, fixed: Sequence[str]) -> None:
    from fnmatch import fnmatchcase

    names = [name for name, _ in [*model.named_modules(), *model.named_parameters()] if name]
    for pattern in fixed:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:6])
            raise InputError(f"fixed: {pattern!r} is no module of the network; it has {some}, ...")


def _is_named(stage: Stage, fixed: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(block.module, p) for block in stage.blocks for p in fixed)


def _atoms(graph: NetworkGraph) -> list[Atom]:
    axes = axes_of(graph, range(len(graph.operations)))
    return list(dict.fromkeys(leaf for axis in axes for term in axis for leaf in leaves(term)))


def _cut(graph: NetworkGraph, stages: list[Stage]) -> tuple[list[Stage], list[Segment]]:
    """Cut a network into layers that lie inside or outside of blocks; a stage of which a block
    cannot be told apart so is none.
    """
    while True:
        groups = {
            i: number
            for number, block in enumerate(b for stage in stages for b in stage.blocks)
            for i in block.operations
        }
        segments = cut(graph, groups)
        crossed = {
            groups[i]
            for segment in segments
            if len({groups.get(i) for i in segment.operations}) > 1
            for i in segment.operations
            if i in groups
        }
        if not crossed:
            return stages, segments
        blocks = [block for stage in stages for block in stage.blocks]
        bad = {id(blocks[number]) for number in crossed}
        stages = [s for s in stages if not any(id(block) in bad for block in s.blocks)]


class _Builder:
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


def _load(
    supernet: Supernet,
    plan: SpacePlan,
    layers: Sequence[Layer],
    traced: Traced,
    computed: Mapping[str, Tensor],
) -> None:
    """Copy the network's weights and statistics into the supernet."""
    known = {**traced.state, **computed}
    with torch.no_grad():
        for slot, layer in zip(plan.slots, layers, strict=True):
            elastic = cast(Any, supernet.slots[slot.name])
            for name, source in layer.sources.items():
                elastic.weight(name).copy_(known[source])
            for norm, pair in layer.statistics.items():
                for key, source in zip(STATISTICS, pair, strict=True):
                    elastic.get_buffer(f"{norm}_{key}").copy_(known[source])


def _stays(graph: NetworkGraph) -> list[Stays]:
    """Return the widths that weights have and nothing can change, each reason once a module."""
    found: dict[tuple[str, int, str], None] = {}
    for operation in graph.operations:
        if operation.kind not in ("conv", "conv_transpose", "linear", "embedding"):
            continue
        axis = operation.weights["weight"].axes[1 if operation.kind == "conv_transpose" else 0]
        if operation.kind == "embedding":
            axis = operation.weights["weight"].axes[1]
        atoms = [leaf for term in axis for leaf in leaves(term)]
        reasons = [atom.fixed for atom in atoms if atom.fixed]
        if atoms and len(reasons) == len(atoms):
            found.setdefault((operation.module, size_of(axis), str(reasons[0])))
    return [Stays(*one) for one in found]


def _notes(graph: NetworkGraph, traced: Traced) -> list[str]:
    """Say what is otherwise than in the network."""
    users: dict[str, set[str]] = {}
    for operation in graph.operations:
        for weight in operation.weights.values():
            users.setdefault(weight.source, set()).add(operation.result.name)
    notes = [
        f"{source} is used {len(names)} times: each place has a copy of its own, trained apart"
        for source, names in users.items()
        if len(names) > 1
    ]
    unknown = {str(o.settings["name"]) for o in graph.operations if o.kind == "torch"}
    if unknown:
        notes.append(f"kept as they are: {', '.join(sorted(unknown))}")
    return notes


def _check_same(model: nn.Module, elastic: Elastic, example: tuple[Tensor, ...]) -> None:
    """Check that the largest architecture answers as the network does, at two sizes of the batch.

    Raises:
        InputError: it does not.
    """
    import copy

    network = copy.deepcopy(model).cpu().eval()
    largest = elastic.space.decode(elastic.space.largest()[0])
    subnet = elastic.supernet.extract(largest).eval()
    for size in (2, 3):
        batch = tuple(torch.cat([t.detach().cpu()] * size)[:size] for t in example)
        with torch.no_grad(), _plain_attention():
            expected, found = _tensors(network(*batch)), _tensors(subnet(*batch))
        for one, other in zip(expected, found, strict=True):
            if one.shape != other.shape or not torch.equal(one.nan_to_num(), other.nan_to_num()):
                difference = (
                    f"by up to {(one - other).abs().max():.2g}"
                    if one.shape == other.shape
                    else f"in shape: {tuple(one.shape)}, {tuple(other.shape)}"
                )
                raise InputError(
                    f"the network answers otherwise once it is traced ({difference}, batch "
                    f"{len(batch[0])}): it depends on something beside its inputs and weights, such "
                    "as the size of the batch or random numbers"
                )


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch's encoder layers from their fused kernel, which rounds otherwise than they do in
    training.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, dict) else list(outputs)

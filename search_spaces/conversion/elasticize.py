"""A trained network becomes a search space and a supernet that holds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.conversion.axes import Atom, leaves, size_of
from search_spaces.conversion.blocks import Stage, find_stages
from search_spaces.conversion.choices import axes_of, choices
from search_spaces.conversion.graph import NetworkGraph
from search_spaces.conversion.importance import sort_by_importance
from search_spaces.conversion.layers import Layer
from search_spaces.conversion.plan_builder import PlanBuilder
from search_spaces.conversion.reader import Reader
from search_spaces.conversion.sameness import check_same
from search_spaces.conversion.segments import Segment, batch_position, cut
from search_spaces.conversion.space_file import SpacePlan
from search_spaces.conversion.tracing import Traced, trace
from search_spaces.elastic.selecting_layer import STATISTICS
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet

Loss = Callable[[Any, Tensor], Tensor]
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
    samples: tuple[Tensor | tuple[Tensor, ...], Tensor] | None = None,
    loss: Loss = F.cross_entropy,
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
        samples: inputs and targets, by which the importance of channels is judged to first order:
            what the loss would lose without them (arXiv:1906.10771); by the size of weights
            without.
        loss: of outputs and targets.

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
    builder = PlanBuilder(type(model).__name__ if name is None else name, graph, stages, segments)
    plan, layers = builder.plan(found, example)
    if not plan.dimensions:
        reasons = ", ".join(dict.fromkeys(stay.reason for stay in _stays(graph))) or "no weights"
        raise InputError(f"nothing of {builder.name} can be chosen: {reasons}")
    space = plan.space()
    with torch.random.fork_rng(devices=[]):  # what layers begin with is written over
        supernet = Supernet(space)
        _load(supernet, plan, layers, traced, reader.computed)
        elastic = Elastic(plan, space, supernet, tuple(_stays(graph)), tuple(_notes(graph, traced)))
        gradients = None if samples is None else _gradients(elastic, samples, loss)
        sort_by_importance(elastic, gradients)
        check_same(model, space, supernet, example)
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
    names = [name for name, _ in [*model.named_modules(), *model.named_parameters()] if name]
    for pattern in fixed:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:6])
            raise InputError(f"fixed: {pattern!r} is no module of the network; it has {some}, ...")


def _is_named(stage: Stage, fixed: Sequence[str]) -> bool:
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


def _gradients(
    elastic: Elastic, samples: tuple[Tensor | tuple[Tensor, ...], Tensor], loss: Loss
) -> dict[str, Tensor]:
    """Return the gradients of a loss of the network itself, by the supernet's parameters.

    Raises:
        InputError: samples that the network or the loss does not take.
    """
    largest = elastic.space.decode(elastic.space.largest()[0])
    network = elastic.supernet.extract(largest).eval()
    inputs, targets = samples
    try:
        outputs = network(*(inputs if isinstance(inputs, tuple) else (inputs,)))
        loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"samples: expected inputs and targets that network and loss take, n of each: {first}"
        ) from error
    found = {}
    for name, parameter in network.named_parameters():
        slot, _, rest = name.partition(".")
        if parameter.grad is not None:
            found[f"slots.{slot}.shared.{rest}"] = parameter.grad
    return found


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

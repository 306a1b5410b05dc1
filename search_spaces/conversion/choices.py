"""What can be chosen of a converted network: widths, heads and kernels with their options."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from search_spaces.conversion.axes import Atom, AtomAxis, leaves
from search_spaces.conversion.graph import NetworkGraph
from search_spaces.conversion.segments import Segment
from search_spaces.errors import InputError
from search_spaces.layer_program import NUM_SIZES

LEAST_WIDTH = 8
"""Channels fewer than these are not worth a choice."""
MOST_DIMENSIONS = 4
"""That one layer depends on: every combination of their options is a spec. More change together."""
MANY_PARTS = 3
"""From so many parts of a concatenation on, all have their widths in common."""


@dataclass(eq=False)
class Choice:
    """A dimension to be: atoms that change together, and their sizes by option.

    Args:
        name: of the dimension.
        atoms: the largest first.
        shares: of the sizes, ascending, 1 last.
    """

    name: str
    atoms: list[Atom]
    sizes: dict[Atom, tuple[int, ...]] = field(default_factory=dict)


def choices(
    graph: NetworkGraph,
    segments: Sequence[Segment],
    shares: Sequence[float],
    limits: Mapping[str, Sequence[float]],
) -> list[Choice]:
    """Return what can be chosen, in the order of the network; atoms that cannot are fixed.

    Args:
        shares: of whole widths, ascending, 1 last.
        limits: pattern of dimensions' names -> shares of theirs.

    Raises:
        InputError: a pattern that fits no dimension.
    """
    found = _atoms(graph)
    for atom in found:
        if atom.noun == "width" and atom.size < LEAST_WIDTH:
            atom.fix(f"only {atom.size} wide")
    tied = _tied(graph, segments)
    groups: dict[Atom, list[Atom]] = {}
    for atom in found:
        if atom.fixed is None:
            groups.setdefault(_root(tied, atom), []).append(atom)
    result, taken, unused = [], Counter[str](), set(limits)
    for members in groups.values():
        first = max(members, key=lambda atom: atom.size)
        name = f"{first.name or 'input'}.{first.noun}"
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name}{taken[name]}"
        fitting = [pattern for pattern in limits if fnmatchcase(name, pattern)]
        unused -= set(fitting)
        wanted = limits[fitting[0]] if fitting else shares
        choice = _with_sizes(Choice(name, [first, *(a for a in members if a is not first)]), wanted)
        if len(choice.sizes[first]) > 1:
            result.append(choice)
        else:
            for atom in members:
                atom.fix("one option only")
    if unused:
        names = ", ".join(choice.name for choice in result[:8])
        raise InputError(
            f"options for {', '.join(sorted(unused))}: no such dimension; {names}, ..."
        )
    return result


def axes_of(graph: NetworkGraph, positions: Iterable[int]) -> list[AtomAxis]:
    """Return all axes that operations have to do with."""
    axes: list[AtomAxis] = []
    for i in positions:
        operation = graph.operations[i]
        for value in (*operation.reads, operation.result):
            axes += value.axes
        for weight in operation.weights.values():
            axes += weight.axes
        axes += operation.sizes.values()
    return axes


def _atoms(graph: NetworkGraph) -> list[Atom]:
    """Return all atoms that no operation fixed and weights have, in the order of the network."""
    found = (
        atom
        for operation in graph.operations
        for weight in operation.weights.values()
        for axis in weight.axes
        for term in axis
        for atom in leaves(term)
    )
    return [atom for atom in dict.fromkeys(found) if atom.fixed is None]


def _tied(graph: NetworkGraph, segments: Sequence[Segment]) -> dict[Atom, Atom]:
    """Let widths change together where too many meet, and fix what one layer cannot depend on."""
    parent: dict[Atom, Atom] = {}
    for operation in graph.operations:
        for axis in operation.result.axes:
            if len(axis) >= MANY_PARTS:
                found = [a for term in axis for a in leaves(term) if a.fixed is None]
                for atom in found[1:]:
                    _tie(parent, found[0], atom)
    for segment in segments:
        axes = axes_of(graph, segment.operations)
        found = [leaf for axis in axes for term in axis for leaf in leaves(term)]
        chosen = _without_surplus_kernels(parent, dict.fromkeys(found))
        widths = [atom for atom in chosen if atom.noun != "kernel"]
        roots = list(dict.fromkeys(_root(parent, atom) for atom in widths))
        room = MOST_DIMENSIONS - (len(chosen) - len(widths))
        for root in roots[room:]:
            _tie(parent, roots[room - 1], root)
        sizes = list(dict.fromkeys((_root(parent, atom), atom.size) for atom in chosen))
        for atom in chosen:
            if (_root(parent, atom), atom.size) in sizes[NUM_SIZES:]:
                atom.fix(f"more than {NUM_SIZES} sizes meet in one layer")
    return parent


def _without_surplus_kernels(parent: Mapping[Atom, Atom], atoms: Iterable[Atom]) -> list[Atom]:
    """Return the atoms of a layer that can be chosen; of kernels, which change with no width, one
    where there are too many dimensions.
    """
    chosen = [atom for atom in atoms if atom.fixed is None]
    if len({_root(parent, atom) for atom in chosen}) > MOST_DIMENSIONS:
        for kernel in [atom for atom in chosen if atom.noun == "kernel"][1:]:
            kernel.fix(f"more than {MOST_DIMENSIONS} dimensions meet in one layer")
    return [atom for atom in chosen if atom.fixed is None]


def _root(parent: Mapping[Atom, Atom], atom: Atom) -> Atom:
    while atom in parent:
        atom = parent[atom]
    return atom


def _tie(parent: dict[Atom, Atom], first: Atom, second: Atom) -> None:
    a, b = _root(parent, first), _root(parent, second)
    if a is not b:
        parent[b] = a


def _with_sizes(choice: Choice, shares: Sequence[float]) -> Choice:
    first = choice.atoms[0]
    if first.noun == "kernel":
        kernels = tuple(range(3, first.size + 1, 2))
        choice.sizes = {atom: kernels for atom in choice.atoms}
        return choice
    by_share = {atom: [_rounded(atom, share) for share in shares] for atom in choice.atoms}
    kept = [i for i, size in enumerate(by_share[first]) if size not in by_share[first][:i]]
    choice.sizes = {atom: tuple(sizes[i] for i in kept) for atom, sizes in by_share.items()}
    return choice


def _rounded(atom: Atom, share: float) -> int:
    """Return a share of a size, rounded to what hardware likes."""
    divisor = 1 if atom.noun == "heads" else next(d for d in (8, 4, 2, 1) if atom.size >= 4 * d)
    size = int(share * atom.size / divisor + 0.5) * divisor
    return atom.size if share == 1 else min(atom.size, max(divisor, size))

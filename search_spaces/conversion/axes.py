"""Which axes of which tensors must have the same channels: atoms that merge and split.

Every axis is a sum (concatenation) of products (flattened axes) of atoms. Two axes that are added
up are one, so their atoms are too; a reshape splits an atom into the factors that it makes of it.
What is left at the end, of atoms that no operation fixed, are the widths that can be chosen.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from math import prod

BATCH_SIZE = 1009
"""The batch that networks are traced with: a prime that is no other size, so that it can be told
apart in every product of sizes.
"""


_COUNTER = count()  # of atoms, in the order of the network


class Atom:
    """One size that cannot be told apart further, or the product of such.

    Args:
        size: as traced.
        fixed: why it cannot be chosen; None where it can.
        name: the module whose channels it first was.
        noun: what is counted.
    """

    def __init__(
        self, size: int, fixed: str | None = None, name: str = "", noun: str = "width"
    ) -> None:
        self.size, self.fixed, self.name, self.noun = size, fixed, name, noun
        self._number = next(_COUNTER)
        self._same: Atom | None = None
        self._parts: tuple[Atom, ...] | None = None

    def found(self) -> "Atom":
        """Return the atom that stands for all that are the same."""
        atom = self
        while atom._same is not None:
            atom = atom._same
        return atom

    def leaves(self) -> list["Atom"]:
        """Return what it is the product of, the outermost first."""
        atom = self.found()
        if atom._parts is None:
            return [] if atom.size == 1 else [atom]
        return [leaf for part in atom._parts for leaf in part.leaves()]

    def split(self, outer: int) -> None:
        """Make it a product of two."""
        sizes = (outer, self.size // outer)
        parts = tuple(Atom(size, self.fixed, self.name, self.noun) for size in sizes)
        self.found()._parts = parts

    def fix(self, reason: str) -> None:
        """Let it not be chosen."""
        for leaf in self.leaves():
            leaf.fixed = leaf.fixed or reason

    def merge(self, other: "Atom") -> None:
        """Let both be the same; both are leaves of one size."""
        first, second = self.found(), other.found()
        if first is second:
            return
        assert first.size == second.size, "sizes that differ cannot be the same"
        if second._number < first._number:  # the earlier one gives the name
            first, second = second, first
        first.fixed = first.fixed or second.fixed
        first.name = first.name or second.name
        if second.noun != "width":
            first.noun = second.noun
        second._same = first


BATCH = Atom(BATCH_SIZE, "the batch")
AtomTerm = tuple[Atom, ...]
AtomAxis = tuple[AtomTerm, ...]
ONE: AtomAxis = ((),)
"""An axis of length 1."""


def fixed_axis(size: int, reason: str) -> AtomAxis:
    """Return an axis of a size that cannot be chosen; the batch is told apart."""
    if size % BATCH_SIZE == 0:
        rest = size // BATCH_SIZE
        return ((BATCH, Atom(rest, reason)),)
    return ((Atom(size, reason),),)


def leaves(term: Iterable[Atom]) -> list[Atom]:
    """Return the leaves of a product."""
    return [leaf for atom in term for leaf in atom.leaves()]


def size_of(axis: AtomAxis) -> int:
    """Return the length of an axis, as traced."""
    return sum(prod(atom.size for atom in term) for term in axis)


def fix(axes: Iterable[AtomAxis], reason: str) -> None:
    """Let no size of these axes be chosen."""
    for axis in axes:
        for term in axis:
            for atom in term:
                atom.fix(reason)


def unify(first: AtomAxis, second: AtomAxis, where: str) -> None:
    """Let two axes of one length have the same channels."""
    sizes = [[prod(atom.size for atom in term) for term in axis] for axis in (first, second)]
    if sizes[0] != sizes[1]:
        fix((first, second), f"{where} joins parts of different sizes")
        return
    for one, other in zip(first, second, strict=True):
        _unify_terms(one, other, where)


def _unify_terms(first: AtomTerm, second: AtomTerm, where: str) -> None:
    ones, others = leaves(first), leaves(second)
    while ones and others:
        one, other = ones.pop(0), others.pop(0)
        if one.size == other.size:
            one.merge(other)
            continue
        large, small, rest = (one, other, ones) if one.size > other.size else (other, one, others)
        if large.size % small.size:
            fix([((large, small, *ones, *others),)], f"{where} joins sizes that do not fit")
            return
        large.split(small.size)
        whole = large.leaves()  # the outer part alone where the inner one is 1
        whole[0].merge(small)
        rest[:0] = whole[1:]


def reshaped(axes: Sequence[AtomAxis], sizes: Sequence[int], where: str) -> list[AtomAxis]:
    """Return the axes of a tensor after a reshape, whose sizes are traced ones."""
    result: list[AtomAxis] = []
    i = j = 0
    old = [size_of(axis) for axis in axes]
    while i < len(old) or j < len(sizes):
        # the fewest axes on both sides that hold as many numbers
        begin, left, right = (i, j), 1, 1
        while left != right or (i, j) == begin:
            if i < len(old) and (left <= right or j >= len(sizes)):
                left, i = left * old[i], i + 1
            else:
                right, j = right * sizes[j], j + 1
        result += _regrouped(axes[begin[0] : i], sizes[begin[1] : j], where)
    return result


def _regrouped(axes: Sequence[AtomAxis], sizes: Sequence[int], where: str) -> list[AtomAxis]:
    if len(axes) == len(sizes) == 1:
        return list(axes)
    if len(sizes) == 1 and all(len(axis) == 1 for axis in axes[1:]):  # an outer sum stays a sum
        inner = tuple(atom for axis in axes[1:] for atom in axis[0])
        return [tuple((*term, *inner) for term in axes[0])] if axes else [((),)]
    if any(len(axis) > 1 for axis in axes):
        fix(axes, f"{where} cuts a concatenation into other parts")
        return [fixed_axis(size, f"a size of {where}") for size in sizes]
    waiting = leaves(atom for axis in axes for atom in axis[0])
    result: list[AtomAxis] = []
    for size in sizes:
        taken, product = [], 1
        while product < size:
            atom, wanted = waiting.pop(0), size // product
            if atom.size > wanted:
                if atom.size % wanted or size % product:
                    fix(axes, f"{where} cuts across its sizes")
                    return [fixed_axis(size, f"a size of {where}") for size in sizes]
                atom.split(wanted)
                parts = atom.leaves()
                atom, waiting[:0] = parts[0], parts[1:]
            taken.append(atom)
            product *= atom.size
        if product != size:
            fix(axes, f"{where} cuts across its sizes")
            return [fixed_axis(size, f"a size of {where}") for size in sizes]
        result.append((tuple(taken),))
    return result

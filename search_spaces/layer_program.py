"""A layer as a small program: operations in order, with sizes that architectures choose.

What a network that others wrote is cut into. It is plain data: a word of JSON in the layer's spec,
so profiles, kits and runs need nothing of the network's own code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

from search_spaces.errors import InputError

NUM_SIZES = 8  # that one program may depend on
BATCH = "b"


@dataclass(frozen=True)
class Chosen:
    """A size that the architecture chooses.

    Args:
        size: number of the size among those of the program.
        order: number of the order in which its channels are taken; None for kernels, of which the
            centre is taken.
    """

    size: int
    order: int | None


Factor = int | str | Chosen  # a fixed size, the batch, or a chosen one
Term = tuple[Factor, ...]  # a product of sizes, the outermost first
Axis = tuple[Term, ...]  # terms one after the other: what a concatenation gives


@dataclass(frozen=True)
class Step:
    """One operation.

    Args:
        operation: one of `OPERATIONS`.
        reads: numbers of the values it reads: inputs of the program first, then steps.
        shape: of its result.
        settings: numbers, words and lists of them; sizes are axes.
        weights: shape of every weight by its name.
    """

    operation: str
    reads: tuple[int, ...]
    shape: tuple[Axis, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[Axis, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the operation, as a part of names of modules."""
        return self.operation.replace(".", "_")


@dataclass(frozen=True)
class Input:
    """What a program reads; the first factor of its first axis is the batch."""

    shape: tuple[Axis, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Program:
    """Operations in order; the last one's result is the layer's."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]

    @property
    def num_orders(self) -> int:
        """How many orders of channels it refers to."""
        return 1 + max((c.order for c in self.chosen if c.order is not None), default=-1)

    @property
    def chosen(self) -> set[Chosen]:
        """All chosen sizes it refers to."""
        shapes = [one.shape for one in self.inputs] + [step.shape for step in self.steps]
        shapes += [axes for step in self.steps for axes in step.weights.values()]
        factors = (f for axes in shapes for axis in axes for term in axis for f in term)
        return {factor for factor in factors if isinstance(factor, Chosen)}

    def to_text(self) -> str:
        """Return it as one word of JSON, equal for equal programs."""
        return json.dumps(_plain(self), separators=(",", ":"), sort_keys=True)


def axis_size(axis: Axis, sizes: Sequence[Any]) -> Any:
    """Return the length of an axis, the batch counting once.

    Args:
        sizes: of the program, numbers or arrays.
    """
    return sum(term_size(term, sizes) for term in axis)


def term_size(term: Term, sizes: Sequence[Any]) -> Any:
    """Return the product of a term's sizes, the batch counting once."""
    result: Any = 1
    for factor in term:
        if factor != BATCH:
            result = result * (sizes[factor.size] if isinstance(factor, Chosen) else factor)
    return result


def num_elements(shape: Sequence[Axis], sizes: Sequence[Any]) -> Any:
    """Return how many numbers a tensor holds, of one sample."""
    return prod((axis_size(axis, sizes) for axis in shape), start=1)


def has_batch(axis: Axis) -> bool:
    """Tell whether an axis runs over the samples of a batch (and perhaps more)."""
    return any(BATCH in term for term in axis)


def read_axis(plain: Any) -> Axis:
    """Read an axis as it stands in JSON."""
    return tuple(tuple(_read_factor(factor) for factor in term) for term in plain)


@lru_cache(maxsize=8192)
def read_program(text: str) -> Program:
    """Read a program.

    Raises:
        InputError: not the text of a program, or one that refers to what is not there.
    """
    try:
        plain = json.loads(text)
        inputs = tuple(Input(_read_shape(one["shape"]), one["dtype"]) for one in plain["inputs"])
        steps = tuple(_read_step(one) for one in plain["steps"])
        program = Program(inputs, steps)
        _check(program)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"expected a layer's program, got {text[:60]!r}...: {error}") from None
    return program


def _check(program: Program) -> None:
    if not program.inputs or not program.steps:
        raise ValueError("it reads or does nothing")
    for i, step in enumerate(program.steps):
        if not all(isinstance(r, int) and 0 <= r < len(program.inputs) + i for r in step.reads):
            raise ValueError(f"step {i} reads what does not come before it")
    for one in program.inputs:
        if one.dtype not in ("float32", "int64") or one.shape[0] != ((BATCH,),):
            raise ValueError("an input is no batch of numbers")
    if not all(0 <= chosen.size < NUM_SIZES for chosen in program.chosen):
        raise ValueError("an unknown size")


def _plain(value: Any) -> Any:
    """Return dataclasses and tuples as what JSON has."""
    if isinstance(value, Program):
        return {"inputs": _plain(value.inputs), "steps": _plain(value.steps)}
    if isinstance(value, Input):
        return {"shape": _plain(value.shape), "dtype": value.dtype}
    if isinstance(value, Step):
        keys = ("operation", "reads", "shape", "settings", "weights")
        return {key: _plain(getattr(value, key)) for key in keys if getattr(value, key)}
    if isinstance(value, Chosen):
        return [value.size, value.order]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _read_step(plain: Mapping[str, Any]) -> Step:
    weights = {name: _read_shape(one) for name, one in plain.get("weights", {}).items()}
    settings = dict(plain.get("settings", {}))
    reads = tuple(plain.get("reads", ()))
    return Step(plain["operation"], reads, _read_shape(plain.get("shape", ())), settings, weights)


def _read_shape(plain: Any) -> tuple[Axis, ...]:
    return tuple(read_axis(axis) for axis in plain)


def _read_factor(plain: Any) -> Factor:
    if isinstance(plain, list):
        size, order = plain
        whole = isinstance(size, int) and (order is None or (isinstance(order, int) and order >= 0))
        if not whole:
            raise ValueError(f"{plain!r} is no size")
        return Chosen(size, order)
    if plain != BATCH and (not isinstance(plain, int) or plain < 1):
        raise ValueError(f"{plain!r} is no size")
    factor: Factor = plain
    return factor

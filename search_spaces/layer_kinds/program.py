"""Layers that are programs: costs of what their operations do."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from search_spaces.layer_kind import Fields, Kept, LayerKind, TensorSpec
from search_spaces.layer_program import (
    NUM_SIZES,
    Axis,
    Program,
    Step,
    axis_size,
    num_elements,
    read_program,
)

Sizes = Sequence[int]
Macs = Callable[[Program, Step, Sizes], int]

VIEWS = frozenset({"reshape", "permute", "select", "narrow", "expand"})
"""Their results lie in the memory of what they read."""
ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "sigmoid", "tanh", "hardswish", "hardsigmoid", "silu", "gelu",
        "leaky_relu", "elu", "softplus", "mish", "softmax", "hardtanh", "prelu",
    }
)  # fmt: skip
WRITE_OVER = ACTIVATIONS | {"batch_norm", "layer_norm", "rms_norm", "add", "sub", "mul"}
"""Their results take the place of what they read first, where nothing reads that later."""


def value_shape(program: Program, number: int) -> tuple[Axis, ...]:
    """Return the shape of a value of a program: of an input, or of a step's result."""
    given = len(program.inputs)
    return program.inputs[number].shape if number < given else program.steps[number - given].shape


# --- multiply-accumulates -------------------------------------------------------------------------


def _weight_macs(program: Program, step: Step, sizes: Sizes) -> int:
    """Every output takes a product with each weight of its channel."""
    per_output = num_elements(step.weights["weight"][1:], sizes)
    return int(num_elements(step.shape, sizes) * per_output)


def _transposed_macs(program: Program, step: Step, sizes: Sizes) -> int:
    """Every input takes part in a product with each weight of its channel."""
    inputs = num_elements(value_shape(program, step.reads[0]), sizes)
    return int(inputs * num_elements(step.weights["weight"][1:], sizes))


def _matmul_macs(program: Program, step: Step, sizes: Sizes) -> int:
    inner = value_shape(program, step.reads[0])[-1]
    return int(num_elements(step.shape, sizes) * axis_size(inner, sizes))


def _attention_macs(program: Program, step: Step, sizes: Sizes) -> int:
    """Queries with keys, then scores with values."""
    query, key, value = (value_shape(program, number) for number in step.reads[:3])
    per_query = num_elements(query, sizes) + num_elements((*query[:-1], value[-1]), sizes)
    return int(axis_size(key[-2], sizes) * per_query)


MACS: dict[str, Macs] = {
    "conv": _weight_macs,
    "conv_transpose": _transposed_macs,
    "linear": _weight_macs,
    "matmul": _matmul_macs,
    "attention": _attention_macs,
}
"""Operations that multiply and accumulate; all others count nothing."""


def _macs(program: Program, sizes: Sizes) -> int:
    counted = (step for step in program.steps if step.operation in MACS)
    return sum(MACS[step.operation](program, step, sizes) for step in counted)


def _num_params(program: Program, sizes: Sizes) -> int:
    trained = (step for step in program.steps if step.settings.get("trainable", True))
    return sum(num_elements(axes, sizes) for step in trained for axes in step.weights.values())


def _output_elements(program: Program, sizes: Sizes) -> int:
    return int(num_elements(program.steps[-1].shape, sizes))


# --- memory ---------------------------------------------------------------------------------------


def _peak(program: Program, sizes: Sizes, kept: tuple[bool, ...]) -> int:
    """Return the most numbers alive at once.

    Args:
        kept: of every input, whether it stays alive to the end.
    """
    given, end = len(program.inputs), len(program.steps)
    last_read = [end if stays else -1 for stays in kept] + [-1] * end
    for i, step in enumerate(program.steps):
        for number in step.reads:
            last_read[number] = max(last_read[number], i)
    last_read[-1] = end
    elements = [
        num_elements(one.shape, sizes) * (2 if one.dtype == "int64" else 1)
        for one in program.inputs
    ]
    owner = list(range(given))  # value -> the value in whose memory it lies
    for i, step in enumerate(program.steps):
        number = given + i
        owner.append(number)
        elements.append(0)
        if step.operation == "parameter":
            continue
        elements[number] = num_elements(step.shape, sizes)
        if not step.reads:
            continue
        first = owner[step.reads[0]]
        done = all(last_read[v] <= i for v in range(number) if owner[v] == first)
        fits = elements[first] == elements[number] and done
        if step.operation in VIEWS or (step.operation in WRITE_OVER and fits):
            owner[number] = first
    ends = [
        max(last_read[v] for v in range(given + end) if owner[v] == o)
        for o in range(given + end)
        if owner[o] == o
    ]
    owners = [o for o in range(given + end) if owner[o] == o]
    begins = [max(o - given, 0) for o in owners]
    most: int = max(
        sum(
            elements[o]
            for o, begin, last in zip(owners, begins, ends, strict=True)
            if begin <= i <= max(last, begin)
        )
        for i in range(end)
    )
    return most


def _inputs(f: Fields) -> tuple[TensorSpec, ...]:
    sizes = _sizes(f)
    return tuple(
        TensorSpec(tuple(int(axis_size(axis, sizes)) for axis in one.shape[1:]), one.dtype)
        for one in read_program(f["program"]).inputs
    )


def _sizes(f: Fields) -> list[int]:
    return [int(f[f"size{i}"]) for i in range(NUM_SIZES)]


def _each(formula: Callable[..., int]) -> Callable[..., Any]:
    """Let a formula of one program serve arrays of fields too."""

    def of_fields(f: Fields, kept: Kept | None = None) -> Any:
        if isinstance(f["program"], str):
            program = read_program(f["program"])
            more = () if kept is None else (_all_kept(program, kept),)
            return formula(program, _sizes(f), *more)
        rows = len(f["program"])
        keep = None if kept is None else [np.broadcast_to(one, rows) for one in kept]
        return np.array(
            [
                of_fields(
                    {key: column[i].item() for key, column in f.items()},
                    None if keep is None else tuple(bool(one[i]) for one in keep),
                )
                for i in range(rows)
            ]
        )

    return of_fields


def _all_kept(program: Program, kept: Kept) -> tuple[bool, ...]:
    """Inputs without a flag count as read again."""
    rest = (True,) * len(program.inputs)
    return (*map(bool, kept), *rest)[: len(program.inputs)]


PROGRAMS: dict[str, LayerKind] = {
    "program": LayerKind(
        fields={"program": str, **{f"size{i}": int for i in range(NUM_SIZES)}},
        macs=_each(_macs),
        num_params=_each(_num_params),
        peak_elements=_each(_peak),
        inputs=_inputs,
        output_elements=_each(_output_elements),
        may_be_zero=frozenset(f"size{i}" for i in range(NUM_SIZES)),
    )
}

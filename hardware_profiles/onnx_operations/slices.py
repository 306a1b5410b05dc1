"""Tensors cut and joined."""

import operator
from typing import Any

import numpy as np
import torch

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph

_TO_THE_END = np.iinfo(np.int64).max


def _emit_getitem(graph: Graph, call: Call) -> None:
    """`tensor[:, a:b:c]`: slices alone, by fixed numbers, that go forward."""
    (index,) = call.arguments if call.arguments else (None,)
    slices = index if isinstance(index, tuple) else (index,)
    if not all(_is_forward_slice(one) for one in slices):
        raise call.refuse(f"an index {index!r}, only slices by numbers")
    cut = {axis: one for axis, one in enumerate(slices) if one != slice(None)}
    if not cut:
        graph.add("Identity", call.inputs, call.output)
        return
    values = {
        "starts": [one.start or 0 for one in cut.values()],
        "ends": [_TO_THE_END if one.stop is None else one.stop for one in cut.values()],
        "axes": list(cut),
        "steps": [one.step or 1 for one in cut.values()],
    }
    names = [graph.integers(f"{call.output}.{name}", numbers) for name, numbers in values.items()]
    graph.add("Slice", [*call.inputs, *names], call.output)


def _is_forward_slice(index: Any) -> bool:
    if not isinstance(index, slice):
        return False
    numbers = (index.start, index.stop, index.step)
    return all(n is None or isinstance(n, int) for n in numbers) and (index.step or 1) > 0


def _emit_cat(graph: Graph, call: Call) -> None:
    dim = call.arguments[0] if call.arguments else call.settings.get("dim", 0)
    if not isinstance(dim, int) or not set(call.settings) <= {"dim"} or len(call.arguments) > 1:
        raise call.refuse("only along one dimension")
    graph.add("Concat", call.inputs, call.output, axis=dim)


def _emit_narrow(graph: Graph, call: Call) -> None:
    if call.settings or len(call.arguments) != 3:
        raise call.refuse("only dimension, start and length, by position")
    axis, start, length = call.arguments
    names = [
        graph.integers(f"{call.output}.{name}", [value])
        for name, value in (("start", start), ("end", start + length), ("axis", axis))
    ]
    graph.add("Slice", [*call.inputs, *names], call.output)


SLICE_FUNCTIONS: dict[Any, Emitter] = {operator.getitem: _emit_getitem, torch.cat: _emit_cat}

SLICE_METHODS: dict[str, Emitter] = {"narrow": _emit_narrow}

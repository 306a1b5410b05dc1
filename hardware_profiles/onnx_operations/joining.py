"""Tensors side by side, and parts of one."""

from typing import Any

import torch

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph


def _emit_concat(graph: Graph, call: Call) -> None:
    axis = call.arguments[0] if call.arguments else call.settings.get("dim", 0)
    if not isinstance(axis, int) or not set(call.settings) <= {"dim"} or len(call.arguments) > 1:
        raise call.refuse("only along one dimension")
    graph.add("Concat", call.inputs, call.output, axis=axis)


def _emit_narrow(graph: Graph, call: Call) -> None:
    if call.settings or len(call.arguments) != 3:
        raise call.refuse("only dimension, start and length, by position")
    axis, start, length = call.arguments
    if start < 0:
        raise call.refuse("a start counted from the end: count it from the front")
    names = [
        graph.integers(f"{call.output}.{name}", [value])
        for name, value in (("start", start), ("end", start + length), ("axis", axis))
    ]
    graph.add("Slice", [*call.inputs, *names], call.output)


JOINING_FUNCTIONS: dict[Any, Emitter] = {torch.cat: _emit_concat}

JOINING_METHODS: dict[str, Emitter] = {"narrow": _emit_narrow}

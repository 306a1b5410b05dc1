"""Changes of shape, order and type, parts of tensors, and means over axes.

A trace does not know how many axes a tensor has. So permutations and pads must state all axes, and
what follows the end of a tensor is refused.
"""

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph

LAST = np.iinfo(np.int64).max  # an end beyond every axis


def _named(call: Call, *names: str) -> dict[str, Any]:
    """Return the arguments by name, however they were given."""
    return {**dict(zip(names, call.arguments, strict=False)), **call.settings}


def _emit_flatten(graph: Graph, call: Call) -> None:
    """From an axis on; axes before it stay."""
    arguments = _named(call, "start_dim", "end_dim")
    start, end = arguments.get("start_dim", 0), arguments.get("end_dim", -1)
    if start < 1 or end != -1:
        raise call.refuse("only from an axis after the batch to the last")
    _reshape(graph, call, [0] * start + [-1])


def _emit_unflatten(graph: Graph, call: Call) -> None:
    """Split the last axis, which must be counted from the front."""
    arguments = _named(call, "dim", "sizes")
    axis, sizes = arguments["dim"], arguments["sizes"]
    if axis < 1:
        raise call.refuse("an axis counted from the end: count it from the front")
    _reshape(graph, call, [0] * axis + list(sizes))


def _reshape(graph: Graph, call: Call, shape: list[int]) -> None:
    """Reshape to sizes of which 0 means "as it is"."""
    graph.add("Reshape", [*call.inputs, graph.integers(f"{call.output}.shape", shape)], call.output)


def _emit_permute(graph: Graph, call: Call) -> None:
    axes = call.arguments[0] if isinstance(call.arguments[0], (tuple, list)) else call.arguments
    if min(axes) < 0:
        raise call.refuse("an axis counted from the end: count it from the front")
    graph.add("Transpose", call.inputs, call.output, perm=list(axes))


def _emit_unsqueeze(graph: Graph, call: Call) -> None:
    (axis,) = call.arguments
    axes = graph.integers(f"{call.output}.axes", [axis])
    graph.add("Unsqueeze", [*call.inputs, axes], call.output)


def _emit_item(graph: Graph, call: Call) -> None:
    """Emit whole axes, leading parts or ranges of them, and single positions."""
    if call.number_first or len(call.inputs) != 1 or len(call.arguments) != 1:
        raise call.refuse("only fixed positions of a tensor")
    items = call.arguments[0] if isinstance(call.arguments[0], tuple) else call.arguments
    name, axis = call.inputs[0], 0
    for i, item in enumerate(items):
        part = f"{call.output}.part{i}"
        if isinstance(item, int) and not isinstance(item, bool):
            position = graph.constant(f"{part}.position", np.array(item, dtype=np.int64))
            name = graph.add("Gather", [name, position], part, axis=axis)
            continue  # the axis is gone
        if not isinstance(item, slice) or (item.step or 1) < 1:
            raise call.refuse(f"position {item!r}")
        if item != slice(None):
            stop = LAST if item.stop is None else item.stop
            bounds = [item.start or 0], [stop], [axis], [item.step or 1]
            constants = [
                graph.integers(f"{part}.{word}", values)
                for word, values in zip(("start", "stop", "axis", "step"), bounds, strict=True)
            ]
            name = graph.add("Slice", [name, *constants], part)
        axis += 1
    graph.add("Identity", [name], call.output)


def _emit_select(graph: Graph, call: Call) -> None:
    axis, index = call.arguments
    position = graph.constant(f"{call.output}.position", np.array(index, dtype=np.int64))
    graph.add("Gather", [*call.inputs, position], call.output, axis=axis)


def _emit_pad(graph: Graph, call: Call) -> None:
    """Pad by zeros; torch counts the last axis first, and must name all of them."""
    (sizes, *rest) = call.arguments
    if rest not in ([], ["constant"]) or call.settings.get("mode", "constant") != "constant":
        raise call.refuse("only zeros")
    if call.settings.get("value"):
        raise call.refuse("only zeros")
    pads = [*sizes[-2::-2], *sizes[-1::-2]]
    graph.add("Pad", [*call.inputs, graph.integers(f"{call.output}.pads", pads)], call.output)


def _emit_to(graph: Graph, call: Call) -> None:
    """Turn into the file's float type: whatever its constants have, also when it is made fp16."""
    if call.arguments != (torch.float32,) or call.settings:
        raise call.refuse("only to float32")
    like = graph.weight(f"{call.output}.like", np.array(1.0))
    graph.add("CastLike", [*call.inputs, like], call.output)


def _emit_type_as(graph: Graph, call: Call) -> None:
    graph.add("CastLike", call.inputs, call.output)


LAYOUT_FUNCTIONS: dict[Any, Emitter] = {operator.getitem: _emit_item, F.pad: _emit_pad}

LAYOUT_METHODS: dict[str, Emitter] = {
    "flatten": _emit_flatten,
    "unflatten": _emit_unflatten,
    "permute": _emit_permute,
    "unsqueeze": _emit_unsqueeze,
    "select": _emit_select,
    "to": _emit_to,
    "type_as": _emit_type_as,
}

"""Changes of shape, order and type, parts of tensors, and means over axes.

A trace does not know how many axes a tensor has. Where an operation counts them from the end, the
network is run through without numbers (`Call.sizes`).
"""

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, Read, named_arguments

LAST = np.iinfo(np.int64).max  # an end beyond every axis


def _emit_flatten(graph: Graph, call: Call) -> None:
    """From an axis on; axes before it stay."""
    arguments = named_arguments(call, "start_dim", "end_dim")
    start, end = arguments.get("start_dim", 0), arguments.get("end_dim", -1)
    if start < 1 or end != -1:
        raise call.refuse("only from an axis after the batch to the last")
    _reshape(graph, call, [0] * start + [-1])


def _emit_unflatten(graph: Graph, call: Call) -> None:
    """Split the last axis, which must be counted from the front."""
    arguments = named_arguments(call, "dim", "sizes")
    axis, sizes = arguments["dim"], arguments["sizes"]
    if axis < 1:
        raise call.refuse("an axis counted from the end: count it from the front")
    _reshape(graph, call, [0] * axis + list(sizes))


def _reshape(graph: Graph, call: Call, shape: list[int]) -> None:
    """Reshape to sizes of which 0 means "as it is"."""
    graph.add("Reshape", [*call.inputs, graph.integers(f"{call.output}.shape", shape)], call.output)


def _emit_reshape(graph: Graph, call: Call) -> None:
    graph.add("Reshape", [call.inputs[0], _shape(graph, call)], call.output)


def _emit_expand(graph: Graph, call: Call) -> None:
    """Repeat along axes of size 1; ONNX leaves the others to themselves where the shape says 1."""
    graph.add("Expand", [call.inputs[0], _shape(graph, call, stays=1)], call.output)


def _shape(graph: Graph, call: Call, stays: int = -1) -> str:
    """Add a shape of which some sizes may be read from tensors.

    Args:
        stays: what stands for -1.
    """
    if call.settings or not call.given or not isinstance(call.given[0], Read):
        raise call.refuse("only sizes by position")
    sizes = call.given[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    if not sizes or not all(_is_size(size) for size in sizes):
        raise call.refuse(f"sizes {sizes}")
    if not any(isinstance(size, Read) for size in sizes):
        return graph.integers(f"{call.output}.shape", [stays if s == -1 else s for s in sizes])
    first = graph.integers(f"{call.output}.first", [0])
    parts = [
        graph.add("Unsqueeze", [size.name, first], f"{call.output}.size{i}")
        if isinstance(size, Read)
        else graph.integers(f"{call.output}.size{i}", [stays if size == -1 else size])
        for i, size in enumerate(sizes)
    ]
    return graph.add("Concat", parts, f"{call.output}.shape", axis=0)


def _is_size(size: Any) -> bool:
    # to ONNX, 0 is no size
    return isinstance(size, Read) or (isinstance(size, int) and (size > 0 or size == -1))


def _emit_size(graph: Graph, call: Call) -> None:
    """Emit the size of one axis, a number."""
    axis = named_arguments(call, "dim").get("dim")
    if not isinstance(axis, int):
        raise call.refuse("only the size of one axis")
    shape = graph.add("Shape", call.inputs, f"{call.output}.shape")
    position = graph.constant(f"{call.output}.axis", np.array(axis, dtype=np.int64))
    graph.add("Gather", [shape, position], call.output, axis=0)


def _emit_permute(graph: Graph, call: Call) -> None:
    axes = call.arguments[0] if isinstance(call.arguments[0], (tuple, list)) else call.arguments
    axes = [call.axis(call.inputs[0], axis) for axis in axes]
    graph.add("Transpose", call.inputs, call.output, perm=axes)


def _emit_transpose(graph: Graph, call: Call) -> None:
    arguments = named_arguments(call, "dim0", "dim1")
    rank = call.rank(call.inputs[0])
    axes = list(range(rank))
    first, second = arguments["dim0"], arguments["dim1"]
    axes[first], axes[second] = axes[second], axes[first]
    graph.add("Transpose", call.inputs, call.output, perm=axes)


def _emit_contiguous(graph: Graph, call: Call) -> None:
    if call.arguments or call.settings:
        raise call.refuse("no other order in memory")
    graph.add("Identity", call.inputs, call.output)


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
    """Pad by a number; torch counts the last axis first and may leave out the first ones."""
    arguments = named_arguments(call, "pad", "mode", "value")
    sizes, value = arguments.get("pad"), arguments.get("value")
    if arguments.get("mode", "constant") != "constant":
        raise call.refuse("only by a number")
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(size, int) for size in sizes):
        raise call.refuse("only by whole sizes")
    if value is not None and not isinstance(value, (int, float)):
        raise call.refuse(f"a value {value!r}")
    if len(sizes) < 6 or any(sizes[-2:]):  # the first axis, of the batch, may not be among them
        sizes = [*sizes, *[0] * (2 * call.rank(call.inputs[0]) - len(sizes))]
    graph.expect_rank(call.output, len(sizes) // 2)
    names = [*call.inputs, graph.integers(f"{call.output}.pads", [*sizes[-2::-2], *sizes[-1::-2]])]
    if value:
        names.append(graph.weight(f"{call.output}.value", np.array(value)))
    graph.add("Pad", names, call.output)


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
    "reshape": _emit_reshape,
    "view": _emit_reshape,
    "expand": _emit_expand,
    "size": _emit_size,
    "permute": _emit_permute,
    "transpose": _emit_transpose,
    "contiguous": _emit_contiguous,
    "unsqueeze": _emit_unsqueeze,
    "select": _emit_select,
    "to": _emit_to,
    "type_as": _emit_type_as,
}

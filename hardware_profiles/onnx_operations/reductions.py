"""Sums and means over dimensions, and what makes weights and deviations of them."""

import numpy as np

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph
from hardware_profiles.onnx_operations.elementwise import simple


def _axes(call: Call) -> tuple[list[int], int]:
    """Read (dimensions, whether they stay with size 1) of a reduction."""
    settings = {"keepdim": False, **call.settings}
    dimension = call.arguments[0] if call.arguments else settings.get("dim")
    axes = [dimension] if isinstance(dimension, int) else dimension
    if not axes or len(call.arguments) > 1 or set(settings) - {"dim", "keepdim"}:
        raise call.refuse("only over named dimensions, `keepdim` by name")
    return list(axes), int(settings["keepdim"])


def _emit_mean(graph: Graph, call: Call) -> None:
    axes, keepdims = _axes(call)
    graph.add("ReduceMean", call.inputs, call.output, axes=axes, keepdims=keepdims)


def _emit_sum(graph: Graph, call: Call) -> None:
    axes, keepdims = _axes(call)
    names = [*call.inputs, graph.integers(f"{call.output}.axes", axes)]
    graph.add("ReduceSum", names, call.output, keepdims=keepdims)


def _emit_clamp(graph: Graph, call: Call) -> None:
    if call.arguments or not set(call.settings) <= {"min", "max"} or call.tensors:
        raise call.refuse("only numbers `min` and `max`, by name")
    names = list(call.inputs)
    for name in ("min", "max"):
        bound = call.settings.get(name)
        names.append(
            "" if bound is None else graph.weight(f"{call.output}.{name}", np.array(bound))
        )
    graph.add("Clip", names, call.output)


REDUCTION_METHODS: dict[str, Emitter] = {
    "mean": _emit_mean,
    "sum": _emit_sum,
    "clamp": _emit_clamp,
    "sqrt": simple("Sqrt"),
}

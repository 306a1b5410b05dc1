"""fp16 and bf16: casts at the edges, everything between in 16 bits where that is possible."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from nas.exporting.parity import Arrays
from nas.exporting.precisions.calibration import tensor_ranges
from nas.exporting.precisions.conversion import (
    Converted,
    Settings,
    check_samples,
    load_float_model,
)
from nas.exporting.precisions.half_casts import with_casts
from nas.exporting.precisions.half_provider import check_compute, check_runs, lacking
from nas.exporting.precisions.prepared import finish, simplified
from nas.exporting.precisions.quantised_nodes import weighted_nodes
from search_spaces import InputError

MARGIN = 2.0  # of what samples reached to what other inputs may reach


@dataclass(frozen=True)
class HalfType:
    """A type of 16 bits; `greatest` and `least` are its positive normal numbers' ends."""

    name: Literal["fp16", "bf16"]
    onnx_type: int
    greatest: float
    least: float


FP16 = HalfType("fp16", TensorProto.FLOAT16, 65504.0, 2.0**-14)
BF16 = HalfType("bf16", TensorProto.BFLOAT16, 3.38953139e38, 2.0**-126)


def in_half(model: bytes, samples: Arrays, settings: Settings, half: HalfType) -> Converted:
    """Convert a serialised fp32 model; its inputs and outputs stay fp32.

    In fp32 stay: operations that the model's opset does not define in the type; nodes that on
    samples come within a factor of 2 of what overflows it, or have a constant that becomes nought;
    and what the provider has no kernel for. A provider may still compute in fp32 between casts of
    its own, which a note says (the CPU's does so on x86).

    Raises:
        InputError: no fp32 model, unfit samples, or no layer with weights is left to compute in the
            type, or the provider does not run it.
    """
    loaded = load_float_model(model)
    check_samples(loaded, samples)
    ready = simplified(loaded)
    layers = weighted_nodes(ready.graph)
    if not layers:
        raise InputError(f"this model has no layer with weights to compute in {half.name}")
    unknown = _undefined(ready, half)
    unsafe = _beyond(ready, samples, half)
    kinds = {node.name: node.op_type for node in ready.graph.node}
    missing: set[str] = set()  # kinds of nodes that the provider lacks
    kept = unknown | unsafe
    converted = with_casts(ready, kept, half.onnx_type)
    if settings.provider is not None:
        missing = lacking(converted, settings.provider, half)
        kept |= {name for name, kind in kinds.items() if kind in missing}
        converted = with_casts(ready, kept, half.onnx_type)
    _check_left(ready, layers, kept, unknown, missing, half, settings)
    finish(converted, loaded)
    data = bytes(converted.SerializeToString())
    if settings.provider is not None:
        check_runs(data, samples, settings.provider, half.name)
    notes = () if settings.provider is None else check_compute(data, settings.provider, half)
    accuracies: tuple[float | None, float | None] = (None, None)
    if settings.evaluate is not None and settings.provider is not None:
        accuracies = (float(settings.evaluate(model)), float(settings.evaluate(data)))
    return Converted(
        half.name,
        data,
        kept_float=tuple(name for name in kinds if name in kept),
        notes=notes,
        accuracy_before=accuracies[0],
        accuracy_after=accuracies[1],
        num_evaluations=0 if accuracies[0] is None else 2,
    )


def _check_left(
    model: Any,
    layers: list[str],
    kept: Collection[str],
    unknown: Collection[str],
    missing: set[str],
    half: HalfType,
    settings: Settings,
) -> None:
    """Raise InputError where no layer with weights is left to compute in the type."""
    if any(name not in kept for name in layers):
        return
    layered = {n.name: n.op_type for n in model.graph.node if n.name in set(layers)}
    lacks = sorted({kind for name, kind in layered.items() if name in unknown})
    reasons = []
    if lacks:
        version = model.opset_import[0].version
        reasons.append(f"ONNX opset {version} does not define {', '.join(lacks)} in {half.name}")
    if without := sorted((missing & set(layered.values())) - set(lacks)):
        import onnxruntime

        reasons.append(
            f"{settings.provider} of ONNX Runtime {onnxruntime.__version__} does not compute "
            f"{', '.join(without)} in {half.name}"
        )
    if not reasons:
        reasons.append(f"every layer of this model overflows {half.name}")
    raise InputError(f"{', and '.join(reasons)}; use another precision")


def _undefined(model: Any, half: HalfType) -> set[str]:
    """Name the nodes whose operation is not defined in the type, or makes floats of other types."""
    version, wanted = model.opset_import[0].version, _type_name(half)
    floats = float_tensors(model)
    result = set()
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, version, "")
        touched = [
            (formals[min(i, len(formals) - 1)], name)
            for formals, names in ((schema.inputs, node.input[:1]), (schema.outputs, node.output))
            for i, name in enumerate(names)
            if formals
        ]
        reads = any(name in floats for name in node.input)
        allowed = all(wanted in formal.types for formal, name in touched if name in floats)
        if node.op_type == "Cast" or not reads or not allowed:
            result.add(node.name)
    return result


def float_tensors(model: Any) -> set[str]:
    """Name all fp32 tensors of a model whose types are known, weights included."""
    graph = model.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    named = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return named | {w.name for w in graph.initializer if w.data_type == TensorProto.FLOAT}


def _beyond(model: Any, samples: Arrays, half: HalfType) -> set[str]:
    """Name the nodes that read or write what overflows the type, or a constant it cannot hold."""
    limit = half.greatest / MARGIN
    unsafe = set()
    for name, data in tensor_ranges(model, samples, "min-max").items():
        reach = np.abs(np.array([np.max(np.abs(one)) for one in data.range_value]))
        if not reach.max() <= limit:  # also where it is no number
            unsafe.add(name)
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            values: npt.NDArray[np.float32] = np.abs(numpy_helper.to_array(weight))
            vanishes = values.size == 1 and bool(0 < values.max(initial=0) < half.least)
            if vanishes or not values.max(initial=0) <= half.greatest:
                unsafe.add(weight.name)
    return {
        node.name
        for node in model.graph.node
        if any(name in unsafe for name in (*node.input, *node.output))
    }


def _type_name(half: HalfType) -> str:
    return "tensor(float16)" if half.name == "fp16" else "tensor(bfloat16)"

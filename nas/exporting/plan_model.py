"""What an ONNX file says of the engine that it becomes. Needs neither torch nor TensorRT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from hardware_profiles.runtimes.tensorrt_build import profile_shapes
from hardware_profiles.runtimes.tensorrt_options import BatchRange
from hardware_profiles.target import Precision
from search_spaces import InputError, TensorSpec

QUANTISED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class ModelInputs:
    """Inputs of a file by name; `free` tells whether it leaves any size open."""

    sizes: Mapping[str, tuple[int, ...]]  # behind the batch
    free: bool
    fixed_batch: int | None


def read_model(model: bytes) -> Any:
    """Parse a serialised model into an `onnx.ModelProto`.

    Raises:
        InputError: it is none.
    """
    try:
        return onnx.load_from_string(model)
    except Exception as error:  # noqa: BLE001 -- protobuf's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"expected a serialised ONNX model: {reason}") from None


def model_inputs(
    loaded: Any, batch: BatchRange, specs: Mapping[str, TensorSpec] | None = None
) -> ModelInputs:
    """Return what a file takes.

    Args:
        loaded: an `onnx.ModelProto`.
        specs: what sizes behind the batch are to be, where the file leaves them free.

    Raises:
        InputError: more is free than that, or its batch is fixed and another one.
    """
    weights = {weight.name for weight in loaded.graph.initializer}
    sizes: dict[str, tuple[int, ...]] = {}
    free, fixed = False, None
    for value in loaded.graph.input:
        if value.name in weights:  # of old files, which list them too
            continue
        shape = value.type.tensor_type.shape.dim
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in shape]
        spec = (specs or {}).get(value.name)
        sizes[value.name] = profile_shapes(value.name, dims, batch, spec)[1][1:]
        free = free or -1 in dims
        fixed = dims[0] if dims[0] != -1 else fixed
    return ModelInputs(sizes, free, fixed)


def check_precision(loaded: Any, precision: Precision) -> None:
    """Refuse a file that computes in another precision than it is said to, or is quantised in a way
    that TensorRT does not read.

    Args:
        loaded: an `onnx.ModelProto`.

    Raises:
        InputError: one of these.
    """
    found = carried_precision(loaded)
    if found != precision:
        raise InputError(
            f"expected a file in {precision}, got one in {found}: engines take their types from "
            "the file, convert it first"
        )
    if precision == "int8":
        _check_quantised(loaded)


def carried_precision(loaded: Any) -> Precision:
    """Tell the precision of a file: int8 where a node is quantised, else the narrowest float."""
    graph = loaded.graph
    if any(node.op_type in QUANTISED for node in graph.node):
        return "int8"
    types = {weight.data_type for weight in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    types |= {value.type.tensor_type.elem_type for value in values}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                types.add(attribute.i)
            if attribute.type == onnx.AttributeProto.TENSOR:
                types.add(attribute.t.data_type)
    if TensorProto.BFLOAT16 in types:
        return "bf16"
    return "fp16" if TensorProto.FLOAT16 in types else "fp32"


def _check_quantised(loaded: Any) -> None:
    """TensorRT reads symmetric int8 alone, and no quantised biases."""
    weights = {weight.name: weight for weight in loaded.graph.initializer}
    for node in loaded.graph.node:
        if node.op_type not in QUANTISED:
            continue
        source, zero = (weights.get(node.input[i]) if i < len(node.input) else None for i in (0, 2))
        reason = None
        if source is not None and source.data_type == TensorProto.INT32:
            reason = f"the int32 bias {source.name!r}"
        if zero is not None and (
            zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any()
        ):
            reason = f"the zero point {zero.name!r}, which is no int8 0"
        if reason is not None:
            raise InputError(
                f"TensorRT takes symmetric int8 with biases in float, got {reason}: quantise it "
                'anew with the scheme "tensorrt"'
            )

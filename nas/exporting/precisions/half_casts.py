"""Rewrites a graph to 16 bits, with casts wherever types meet."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def with_casts(model: Any, kept: Collection[str], half: int) -> Any:
    """Return a model of which all nodes but some compute in a type of 16 bits.

    Tensors keep their names where they keep their type; what is read in the other type is cast once
    for all its readers. Weights have the type that they are read in. Inputs and outputs stay fp32.

    Args:
        model: an `onnx.ModelProto`, simplified; left as it is.
        kept: names of nodes that stay fp32.
        half: an element type of ONNX, FLOAT16 or BFLOAT16.
    """
    return _Rewriting(model, kept, half).result()


class _Rewriting:
    def __init__(self, model: Any, kept: Collection[str], half: int) -> None:
        self._model, self._kept, self._half = model, kept, half
        graph = model.graph
        values = [*graph.value_info, *graph.input, *graph.output]
        self._floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._weights = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT}
        self._inputs = {value.name for value in graph.input}
        self._outputs = {value.name for value in graph.output}
        self._in_half: dict[str, str] = {}  # names of tensors' versions in 16 bits
        self._made_in_half: set[str] = set()
        self._cast_back: set[str] = set()  # of those, what somebody reads in fp32
        self._nodes: list[Any] = []
        self._used_weights: dict[str, Any] = {}

    def result(self) -> Any:
        for node in self._model.graph.node:
            self._add(node)
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        graph = result.graph
        others = [w for w in graph.initializer if w.name not in self._weights]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend([*others, *self._used_weights.values()])
        return result

    def _add(self, node: Any) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        in_half = node.name not in self._kept
        only_float = self._float_only_inputs(node) if in_half else set()
        for i, name in enumerate(node.input):
            wanted = in_half and i not in only_float
            copy.input.append(self._read_half(name) if wanted else self._read_float(name))
        copy.output.extend(node.output)
        self._nodes.append(copy)
        if in_half:
            for i, name in enumerate(node.output):
                if name in self._floats:
                    copy.output[i] = f"{name}.half"
                    self._in_half[name] = copy.output[i]
                    self._made_in_half.add(name)
                    if name in self._outputs:
                        self._read_float(name)

    def _float_only_inputs(self, node: Any) -> set[int]:
        """Positions of inputs that are fp32 whatever the node computes in (scales of Resize)."""
        version = self._model.opset_import[0].version
        formals = onnx.defs.get_schema(node.op_type, version, "").inputs
        word = "tensor(float16)" if self._half == TensorProto.FLOAT16 else "tensor(bfloat16)"
        return {
            i
            for i in range(len(node.input))
            if formals and word not in formals[min(i, len(formals) - 1)].types
        }

    def _read_half(self, name: str) -> str:
        if name in self._weights:
            return self._weight(name, self._half)
        if name not in self._floats:
            return name
        if name not in self._in_half:
            self._in_half[name] = self._cast(name, f"{name}.half", self._half)
        return self._in_half[name]

    def _read_float(self, name: str) -> str:
        if name in self._weights:
            return self._weight(name, TensorProto.FLOAT)
        if name in self._made_in_half and name not in self._cast_back:
            self._cast_back.add(name)
            self._cast(self._in_half[name], name, TensorProto.FLOAT)
        return name

    def _cast(self, source: str, target: str, kind: int) -> str:
        name = f"{target}.cast"
        self._nodes.append(helper.make_node("Cast", [source], [target], name=name, to=kind))
        return target

    def _weight(self, name: str, kind: int) -> str:
        in_half = kind != TensorProto.FLOAT
        target = f"{name}.half" if in_half else name
        if target not in self._used_weights:
            weight = self._weights[name]
            self._used_weights[target] = _in_16_bits(weight, target, kind) if in_half else weight
        return target


def _in_16_bits(weight: Any, name: str, kind: int) -> Any:
    """Round a weight to the nearest numbers of the type, ties to even."""
    values = numpy_helper.to_array(weight)
    if kind == TensorProto.FLOAT16:
        return numpy_helper.from_array(values.astype(np.float16), name)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return helper.make_tensor(name, kind, values.shape, rounded.tobytes(), raw=True)

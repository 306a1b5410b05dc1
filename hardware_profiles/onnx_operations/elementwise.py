"""Sums and products, linear layers, and changes of shape."""

import operator
from typing import Any

import numpy as np
import torch
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, module_weight


def simple(operation: str, **attributes: Any) -> Emitter:
    """Return an emitter of one node without weights."""

    def emit(graph: Graph, call: Call) -> None:
        graph.add(operation, call.inputs, call.output, **attributes)

    return emit


def _binary(operation: str) -> Emitter:
    def emit(graph: Graph, call: Call) -> None:
        if operation == "Div":
            graph.expect_floats(*call.inputs)  # ONNX rounds the quotients of whole numbers
        if call.settings or len(call.inputs) + len(call.arguments) != 2:
            raise call.refuse("only two operands, nothing else")
        names = list(call.inputs)
        if call.arguments:  # a number, on either side
            (number,) = call.arguments
            if not isinstance(number, (int, float)):
                raise call.refuse(f"an operand {number!r}")
            operand = graph.weight(f"{call.output}.operand", np.array(number))
            names.insert(0 if call.number_first else 1, operand)
        graph.add(operation, names, call.output)

    return emit


def _emit_matmul(graph: Graph, call: Call) -> None:
    if len(call.inputs) != 2 or call.arguments or call.settings:
        raise call.refuse("only two tensors")
    graph.add("MatMul", call.inputs, call.output)


def _emit_linear(graph: Graph, call: Call) -> None:
    """Gemm takes matrices only, so the general form is a product and a sum."""
    linear = call.module
    weight = linear.weight.detach().T
    product = graph.weight(f"{call.output}.weight", weight.cpu().float().contiguous().numpy())
    if linear.bias is None:
        graph.add("MatMul", [*call.inputs, product], call.output)
        return
    graph.add("MatMul", [*call.inputs, product], f"{call.output}.product")
    bias = module_weight(graph, call, "bias")
    graph.add("Add", [f"{call.output}.product", bias], call.output)


def _emit_flatten_module(graph: Graph, call: Call) -> None:
    if (call.module.start_dim, call.module.end_dim) != (1, -1):
        raise call.refuse("only all but the batch")
    graph.add("Flatten", call.inputs, call.output, axis=1)


ELEMENTWISE_MODULES: dict[type[nn.Module], Emitter] = {
    nn.Linear: _emit_linear,
    nn.Flatten: _emit_flatten_module,
    nn.Identity: simple("Identity"),
}

ELEMENTWISE_FUNCTIONS: dict[Any, Emitter] = {
    operator.add: _binary("Add"),
    operator.sub: _binary("Sub"),
    operator.mul: _binary("Mul"),
    torch.add: _binary("Add"),
    torch.sub: _binary("Sub"),
    torch.mul: _binary("Mul"),
    operator.truediv: _binary("Div"),
    torch.matmul: _emit_matmul,
}

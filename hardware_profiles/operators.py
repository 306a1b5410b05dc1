"""The ONNX operators that files of this engine may hold: what every runtime is asked to know."""

from collections.abc import Iterable
from typing import Any

OPSET = 17  # that files have unless asked otherwise
OPERATORS = frozenset(
    {
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "CastLike",
        "Ceil",
        "Celu",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "Cos",
        "Cosh",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "PRelu",
        "Pad",
        "Pow",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Round",
        "Selu",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Sub",
        "Tan",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)
"""Of the default domain. A file of torch's exporter may hold others, which its manifest states."""


def operators_of(model: Any) -> tuple[str, ...]:
    """Return the operators of an ONNX `ModelProto`, sorted: those of other domains as
    domain.name, those of subgraphs and functions included.
    """
    found = set(_names(model.graph.node))
    for function in model.functions:
        found |= set(_names(function.node))
    return tuple(sorted(found))


def unlisted(operators: Iterable[str]) -> list[str]:
    """Return the operators that are not on the list, sorted."""
    return sorted(set(operators) - OPERATORS)


def _names(nodes: Iterable[Any]) -> Iterable[str]:
    for node in nodes:
        yield node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
            for graph in graphs:
                yield from _names(graph.node)

"""Which nodes of a graph compute on integers."""

from collections.abc import Collection
from typing import Any

from onnx import TensorProto

FEW_CHANNELS = 4
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# quantised where all they read is
FOLLOWING = frozenset(
    {
        *("Add", "Mul", "MatMul", "Concat", "Relu", "Clip", "MaxPool", "AveragePool"),
        *("GlobalAveragePool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"),
        "Split",
    }
)
SCALED = frozenset(
    {"Add", "Mul"}
)  # a constant of theirs would be quantised with a range of its own
HARD = "HardSigmoid"  # of an h-swish too, which the simplified graph spells out


def weighted_nodes(graph: Any) -> list[str]:
    """Name the nodes that have weights to quantise: convolutions and products with a constant."""
    weights = _float_weights(graph)
    return [node.name for node in graph.node if _is_weighted(node, weights)]


def stem_convolutions(graph: Any) -> list[str]:
    """Name the convolutions that read an input of the network of a few channels: of images."""
    inputs = {value.name for value in graph.input}
    channels = {one.name: one.dims[1] for one in graph.initializer if len(one.dims) > 2}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and node.input[0] in inputs
        and channels.get(node.input[1], FEW_CHANNELS + 1) <= FEW_CHANNELS
    ]


def quantised_nodes(graph: Any, kept_float: Collection[str], hard_quantised: bool) -> list[str]:
    """Name the nodes to quantise, in order.

    A weighted node always, because it pays for what it costs to quantise its input; what merely
    follows only where all its inputs are quantised anyway. So sums beside a network's float parts
    (norms of transformers, gates) stay float, and no number is quantised to be read in float.

    Args:
        graph: of a simplified model.
        kept_float: names of nodes that are not.
        hard_quantised: h-sigmoids give quantised values too.
    """
    weights, quantised, names = _float_weights(graph), set[str](), list[str]()
    constants = {weight.name for weight in graph.initializer}
    for node in graph.node:
        read = [name for name in node.input if name and name not in constants]
        follows = (
            node.op_type in FOLLOWING
            and bool(read)
            and all(name in quantised for name in read)
            and not (node.op_type in SCALED and len(read) < len(node.input))
        )
        hard = hard_quantised and node.op_type == HARD
        if node.name not in kept_float and (_is_weighted(node, weights) or follows or hard):
            names.append(node.name)
            quantised.update(node.output)
    return names


def _float_weights(graph: Any) -> set[str]:
    return {one.name for one in graph.initializer if one.data_type == TensorProto.FLOAT}


def _is_weighted(node: Any, weights: Collection[str]) -> bool:
    return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in weights

"""Norms of samples: over features, and over groups of channels."""

import numpy as np
import torch
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, as_numpy, module_weight


def _emit_layer_norm(graph: Graph, call: Call) -> None:
    norm, name = call.module, call.output
    if norm.weight is None:
        weights = [graph.weight(f"{name}.weight", np.ones(norm.normalized_shape))]
    else:
        weights = [module_weight(graph, call, "weight")]
    if norm.bias is not None:
        weights.append(module_weight(graph, call, "bias"))
    axis = -len(norm.normalized_shape)
    inputs = [*call.inputs, *weights]
    graph.add("LayerNormalization", inputs, name, axis=axis, epsilon=norm.eps)


def _emit_rms_norm(graph: Graph, call: Call) -> None:
    norm, name, (source,) = call.module, call.output, call.inputs
    if norm.weight is None:
        raise call.refuse("a norm without weights")
    epsilon = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps
    axes = list(range(-len(norm.normalized_shape), 0))
    square = graph.add("Mul", [source, source], f"{name}.square")
    mean = graph.add("ReduceMean", [square], f"{name}.mean", axes=axes, keepdims=1)
    least = graph.weight(f"{name}.epsilon", np.array(epsilon))
    shifted = graph.add("Add", [mean, least], f"{name}.shifted")
    root = graph.add("Sqrt", [shifted], f"{name}.root")
    normed = graph.add("Div", [source, root], f"{name}.normed")
    graph.add("Mul", [normed, module_weight(graph, call, "weight")], name)


def _emit_group_norm(graph: Graph, call: Call) -> None:
    """Each group is an instance of one channel; b x groups x the rest."""
    norm, name, (source,) = call.module, call.output, call.inputs
    apart = graph.integers(f"{name}.groups", [0, norm.num_groups, -1])
    grouped = graph.add("Reshape", [source, apart], f"{name}.grouped")
    ones = graph.weight(f"{name}.ones", np.ones(norm.num_groups))
    zeros = graph.weight(f"{name}.zeros", np.zeros(norm.num_groups))
    normed = graph.add(
        "InstanceNormalization", [grouped, ones, zeros], f"{name}.normed", epsilon=norm.eps
    )
    if norm.weight is not None:
        channels = graph.integers(f"{name}.channels", [0, norm.num_channels, -1])
        normed = graph.add("Reshape", [normed, channels], f"{name}.ungrouped")
        for operation, word, weight in (
            ("Mul", "scaled", norm.weight),
            ("Add", "shifted", norm.bias),
        ):
            by_channel = graph.weight(f"{name}.{word}.weight", as_numpy(weight)[:, None])
            normed = graph.add(operation, [normed, by_channel], f"{name}.{word}")
    shape = graph.add("Shape", [source], f"{name}.shape")
    graph.add("Reshape", [normed, shape], name)


NORM_MODULES: dict[type[nn.Module], Emitter] = {
    nn.LayerNorm: _emit_layer_norm,
    nn.RMSNorm: _emit_rms_norm,
    nn.GroupNorm: _emit_group_norm,
}

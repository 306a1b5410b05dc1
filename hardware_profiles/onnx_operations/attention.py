"""What transformers are made of: attention, norms over features, embeddings, their activations."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, module_weight


def _emit_attention(graph: Graph, call: Call) -> None:
    """Softmax of scaled queries x keys (+ mask), x values; b x heads x t x size each."""
    settings = dict(call.settings)
    scale, mask = settings.pop("scale", None), call.tensors.get("attn_mask")
    if not isinstance(scale, float) or len(call.inputs) != 3 or call.arguments:
        raise call.refuse("only query, key and value, mask by name, and a stated scale")
    if any(settings.values()):  # dropout, causal masks, groups of heads
        raise call.refuse(f"settings {settings}")
    query, key, value = call.inputs
    name = call.output
    factor = graph.weight(f"{name}.scale", np.array(scale))
    scaled = graph.add("Mul", [query, factor], f"{name}.scaled")
    turned = graph.add("Transpose", [key], f"{name}.turned", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", [scaled, turned], f"{name}.scores")
    if mask is not None:
        scores = graph.add("Add", [scores, mask], f"{name}.masked")
    weights = graph.add("Softmax", [scores], f"{name}.weights", axis=-1)
    graph.add("MatMul", [weights, value], name)


def _emit_layer_norm(graph: Graph, call: Call) -> None:
    norm = call.module
    if norm.weight is None:
        raise call.refuse("a norm without weights")
    names = [module_weight(graph, call, "weight")]
    if norm.bias is not None:
        names.append(module_weight(graph, call, "bias"))
    axis = -len(norm.normalized_shape)
    inputs = [*call.inputs, *names]
    graph.add("LayerNormalization", inputs, call.output, axis=axis, epsilon=norm.eps)


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


def _emit_gelu(graph: Graph, call: Call) -> None:
    """x / 2 * (1 + erf(x / sqrt 2)), in the form that ONNX Runtime fuses."""
    if call.module.approximate != "none":
        raise call.refuse("only the exact form")
    name, (source,) = call.output, call.inputs
    root, one, half = (
        graph.weight(f"{name}.{word}", np.array(value))
        for word, value in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
    )
    scaled = graph.add("Div", [source, root], f"{name}.scaled")
    error = graph.add("Erf", [scaled], f"{name}.erf")
    share = graph.add("Add", [error, one], f"{name}.share")
    twice = graph.add("Mul", [source, share], f"{name}.twice")
    graph.add("Mul", [twice, half], name)


def _emit_embedding(graph: Graph, call: Call) -> None:
    if call.module.max_norm is not None:
        raise call.refuse("rows of limited length")
    graph.add("Gather", [module_weight(graph, call, "weight"), *call.inputs], call.output, axis=0)


ATTENTION_MODULES: dict[type[nn.Module], Emitter] = {
    nn.LayerNorm: _emit_layer_norm,
    nn.RMSNorm: _emit_rms_norm,
    nn.GELU: _emit_gelu,
    nn.Embedding: _emit_embedding,
}

ATTENTION_FUNCTIONS: dict[Any, Emitter] = {F.scaled_dot_product_attention: _emit_attention}

"""What transformers are made of: attention and embeddings."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, module_weight


def _emit_attention(graph: Graph, call: Call) -> None:
    """Softmax of scaled queries x keys (+ mask), x values; b x heads x t x size each."""
    settings = dict(call.settings)
    scale, causal = settings.pop("scale", None), settings.pop("is_causal", False)
    if len(call.inputs) not in (3, 4) or call.arguments:
        raise call.refuse("only query, key, value and mask, all else by name")
    if any(settings.values()) or set(call.tensors) - {"attn_mask"}:  # dropout, groups of heads
        raise call.refuse(f"settings {settings}")
    query, key, value, *masks = (*call.inputs, *call.tensors.values())
    if len(masks) > 1 or (masks and causal):
        raise call.refuse("only one mask")
    name, rank = call.output, call.rank(key)
    if causal:
        (length,), (others,) = (call.fixed_sizes(one, -2)[:1] for one in (query, key))
        allowed = np.tri(length, others, dtype=bool)
        masks = [graph.weight(f"{name}.causal", np.where(allowed, 0.0, -np.inf))]
    if scale is None:
        scale = call.fixed_sizes(query, -1)[0] ** -0.5
    factor = graph.weight(f"{name}.scale", np.array(float(scale)))
    scaled = graph.add("Mul", [query, factor], f"{name}.scaled")
    turned = graph.add("Transpose", [key], f"{name}.turned", perm=_turned(rank))
    scores = graph.add("MatMul", [scaled, turned], f"{name}.scores")
    for mask in masks:
        scores = graph.add("Add", [scores, mask], f"{name}.masked")
    weights = graph.add("Softmax", [scores], f"{name}.weights", axis=-1)
    graph.add("MatMul", [weights, value], name)


def _turned(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _emit_embedding(graph: Graph, call: Call) -> None:
    if call.module.max_norm is not None:
        raise call.refuse("rows of limited length")
    graph.add("Gather", [module_weight(graph, call, "weight"), *call.inputs], call.output, axis=0)


ATTENTION_MODULES: dict[type[nn.Module], Emitter] = {
    nn.Embedding: _emit_embedding,
}

ATTENTION_FUNCTIONS: dict[Any, Emitter] = {F.scaled_dot_product_attention: _emit_attention}

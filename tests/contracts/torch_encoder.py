"""A transformer block of ours as torch's own layer of the same weights: an oracle."""

import torch
from torch import nn


def torch_layer(block: nn.Module, heads: int, epsilon: float, is_pre: bool) -> nn.Module:
    """Return torch's layer, which must know as many features in its heads as the hidden size has.

    It stays in training mode, without dropout: in eval mode torch takes another path.
    """
    hidden = block.attention.output.out_features
    layer = nn.TransformerEncoderLayer(
        hidden, heads, block.expand.out_features, dropout=0.0, activation="gelu",
        layer_norm_eps=epsilon, batch_first=True, norm_first=is_pre,
    )  # fmt: skip
    parts = [getattr(block.attention, name) for name in ("query", "key", "value")]
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        layer.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    for theirs, ours in (
        (layer.self_attn.out_proj, block.attention.output),
        (layer.norm1, block.attention_norm),
        (layer.linear1, block.expand),
        (layer.linear2, block.contract),
        (layer.norm2, block.feed_forward_norm),
    ):
        theirs.load_state_dict(ours.state_dict())
    return layer.train()

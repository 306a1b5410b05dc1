"""Transformer blocks, what makes tokens of images and texts, and what classifies by them.

Permutations, pads and scales are written out in full, so that a trace alone says what they do.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.layer_modules.activations import ACTIVATIONS
from search_spaces.layer_spec import LayerSpec

PRE_EPSILON, POST_EPSILON = 1e-6, 1e-12  # of norms, as in ViT and in BERT
HIDDEN_SCORE = -10000.0  # BERT's; below it softmax gives exactly 0, and fp16 still holds it

NORMS: dict[str, Callable[[int, float], nn.Module]] = {
    "layer": lambda size, epsilon: nn.LayerNorm(size, epsilon),
    "rms": lambda size, epsilon: nn.RMSNorm(size, epsilon),
    "none": lambda size, epsilon: nn.Identity(),
}
"""Norms over the hidden size by the words that layer specs use."""


class Attention(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762): b x t x hidden -> b x t x hidden.

    Queries, keys and values are separate linear layers, so that their first features are the first
    heads.
    """

    def __init__(self, hidden_size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        self.query = nn.Linear(hidden_size, heads * head_size)
        self.key = nn.Linear(hidden_size, heads * head_size)
        self.value = nn.Linear(hidden_size, heads * head_size)
        self.output = nn.Linear(heads * head_size, hidden_size)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Apply the layer; `mask` (b x 1 x 1 x t) is added to the scores of keys."""
        query = self._by_head(self.query(inputs))  # b x heads x t x head_size
        key = self._by_head(self.key(inputs))
        value = self._by_head(self.value(inputs))
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask.type_as(query),
            scale=self.head_size**-0.5,
        )
        outputs: Tensor = self.output(mixed.permute(0, 2, 1, 3).flatten(2))
        return outputs

    def _by_head(self, features: Tensor) -> Tensor:
        split: Tensor = features.unflatten(2, (self.heads, self.head_size))  # type: ignore[no-untyped-call]
        by_head: Tensor = split.permute(0, 2, 1, 3)
        return by_head


class _Block(nn.Module):
    """Attention and feed-forward, each with a norm and a residual.

    `order` "pre" norms what a branch reads (ViT, arXiv:2010.11929), "post" the sum of branch and
    residual (BERT, arXiv:1810.04805).
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        hidden, inner = spec["hidden_size"], spec["feed_forward_size"]
        self.is_pre = {"pre": True, "post": False}[spec["order"]]
        epsilon = PRE_EPSILON if self.is_pre else POST_EPSILON
        self.attention = Attention(hidden, spec["heads"], spec["head_size"])
        self.attention_norm = NORMS[spec["norm"]](hidden, epsilon)
        self.expand = nn.Linear(hidden, inner)
        self.activation = ACTIVATIONS[spec["activation"]](inplace=True)
        self.contract = nn.Linear(inner, hidden)
        self.feed_forward_norm = NORMS[spec["norm"]](hidden, epsilon)

    def _apply_block(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        if self.is_pre:
            hidden: Tensor = inputs + self.attention(self.attention_norm(inputs), mask)
            return hidden + self._feed_forward(self.feed_forward_norm(hidden))
        hidden = self.attention_norm(inputs + self.attention(inputs, mask))
        outputs: Tensor = self.feed_forward_norm(hidden + self._feed_forward(hidden))
        return outputs

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        outputs: Tensor = self.contract(self.activation(self.expand(hidden)))
        return outputs


class TransformerBlock(_Block):
    """A block in which every token attends to every one: b x t x hidden -> b x t x hidden."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the block."""
        return self._apply_block(inputs, None)


class MaskedTransformerBlock(_Block):
    """A block with a mask b x 1 x 1 x t that is added to scores: b x t x hidden -> the same."""

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Apply the block."""
        return self._apply_block(inputs, mask)


class PatchEmbedding(nn.Module):
    """Patches as tokens after a class token, with learned positions (arXiv:2010.11929):
    b x c x h x w -> b x (1 + patches) x hidden.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        hidden, patch = spec["hidden_size"], spec["patch_size"]
        self.num_patches = (spec["height"] // patch) * (spec["width"] // patch)
        self.patches = nn.Conv2d(spec["in_channels"], hidden, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, hidden))
        self.positions = nn.Parameter(torch.zeros(1 + self.num_patches, hidden))

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer. The class token's row is padded rather than joined: that needs no copy
        of it for every image of the batch.
        """
        patches = self.patches(inputs).flatten(2).permute(0, 2, 1)
        tokens = F.pad(patches, (0, 0, 1, 0, 0, 0)) + self.positions
        return tokens + F.pad(self.class_token, (0, 0, 0, self.num_patches))


class TextEmbedding(nn.Module):
    """Sum of word, position and token type 0, normed (arXiv:1810.04805): ids b x t -> b x t x
    hidden.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        hidden = spec["hidden_size"]
        self.tokens = spec["tokens"]
        self.words = nn.Embedding(spec["vocabulary"], hidden)
        self.positions = nn.Embedding(spec["positions"], hidden)
        self.token_types = nn.Embedding(spec["token_types"], hidden)
        self.norm = NORMS[spec["norm"]](hidden, POST_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """Apply the layer."""
        placed = self.words(ids) + self.positions.weight[: self.tokens]
        outputs: Tensor = self.norm(placed + self.token_types.weight[0])
        return outputs


class AttentionMask(nn.Module):
    """What to add to attention scores: mask of 1 (read) and 0 (hidden), b x t -> b x 1 x 1 x t.

    It is finite: rows that hide every token give numbers.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()

    def forward(self, mask: Tensor) -> Tensor:
        """Apply the layer."""
        is_read = mask.unsqueeze(1).unsqueeze(1).to(torch.float32)
        return (is_read - 1.0) * -HIDDEN_SCORE


class TokenClassifier(nn.Module):
    """Logits of the first token: b x t x hidden -> b x classes.

    With a norm before (pre-norm networks), with BERT's pooler (linear, tanh), with both or neither.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        hidden = spec["hidden_size"]
        self.norm = NORMS[spec["norm"]](hidden, PRE_EPSILON)
        has_pooler = {"tanh": True, "none": False}[spec["pooler"]]
        self.pooler = nn.Linear(hidden, hidden) if has_pooler else None
        self.tanh = nn.Tanh()
        self.logits = nn.Linear(hidden, spec["num_classes"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.norm(inputs[:, 0])
        if self.pooler is not None:
            hidden = self.tanh(self.pooler(hidden))
        logits: Tensor = self.logits(hidden)
        return logits


TRANSFORMERS: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "transformer_block": TransformerBlock,
    "masked_transformer_block": MaskedTransformerBlock,
    "patch_embedding": PatchEmbedding,
    "text_embedding": TextEmbedding,
    "attention_mask": AttentionMask,
    "token_classifier": TokenClassifier,
}

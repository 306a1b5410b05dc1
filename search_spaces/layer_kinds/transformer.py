"""Transformer blocks, what makes tokens of images and texts, and what classifies by them."""

from functools import partial
from typing import Any

import numpy as np

from search_spaces.layer_kind import (
    IMAGE,
    Fields,
    Kept,
    LayerKind,
    TensorSpec,
    image_elements,
    image_inputs,
    maximum,
    zero,
)

Words = Any  # a word, or an array of words


def _norm_params(word: Words, size: Any) -> Any:
    """Scale and shift of a layer norm, scale of an RMS norm."""
    return (2 * np.equal(word, "layer") + np.equal(word, "rms")) * size


def _token_elements(f: Fields) -> Any:
    return f["tokens"] * f["hidden_size"]


def _token_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["tokens"], f["hidden_size"])),)


# --- block: attention and feed-forward, each with a norm and a residual (arXiv:1706.03762) --------


def _attention_size(f: Fields) -> Any:
    return f["heads"] * f["head_size"]


def _block_macs(f: Fields) -> Any:
    hidden, attention, tokens = f["hidden_size"], _attention_size(f), f["tokens"]
    products = 2 * tokens * attention  # of queries with keys, and of weights with values
    return tokens * (4 * hidden * attention + products + 2 * hidden * f["feed_forward_size"])


def _block_params(f: Fields) -> Any:
    hidden, attention, inner = f["hidden_size"], _attention_size(f), f["feed_forward_size"]
    projections = 4 * hidden * attention + 3 * attention + hidden
    feed_forward = 2 * hidden * inner + inner + hidden
    return projections + feed_forward + 2 * _norm_params(f["norm"], hidden)


def _block_peak(f: Fields, kept: Kept, mask: int = 0) -> Any:
    """A mask is a row of `tokens`; unless kept it can go once attention is over."""
    hidden, attention, inner = f["hidden_size"], _attention_size(f), f["feed_forward_size"]
    is_pre = np.equal(f["order"], "pre")  # norms make copies of what the residual still needs
    at_values = (1 + is_pre) * hidden + 3 * attention
    at_attention = hidden + 4 * attention
    at_projection = 2 * hidden + attention
    at_feed_forward = (2 + kept[0]) * hidden + inner
    with_mask = maximum(at_values, at_attention) + mask
    without = maximum(at_projection, at_feed_forward) + mask * kept[1]
    return f["tokens"] * maximum(with_mask, without)


def _masked_block_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return (*_token_inputs(f), TensorSpec((1, 1, f["tokens"])))


# --- patch embedding: c x h x w -> tokens x hidden (arXiv:2010.11929) -----------------------------


def _num_patches(f: Fields) -> Any:
    return (f["height"] // f["patch_size"]) * (f["width"] // f["patch_size"])


def _patch_weights(f: Fields) -> Any:
    return f["in_channels"] * f["patch_size"] ** 2 * f["hidden_size"]


def _patch_macs(f: Fields) -> Any:
    return _num_patches(f) * _patch_weights(f)


def _patch_params(f: Fields) -> Any:
    class_token_and_positions = (_num_patches(f) + 2) * f["hidden_size"]
    return _patch_weights(f) + f["hidden_size"] + class_token_and_positions


def _patch_elements(f: Fields) -> Any:
    return (_num_patches(f) + 1) * f["hidden_size"]


def _patch_peak(f: Fields, kept: Kept) -> Any:
    image, tokens = image_elements(f), _patch_elements(f)
    at_convolution = image + tokens - f["hidden_size"]
    at_class_token = kept[0] * image + 2 * tokens
    return maximum(at_convolution, at_class_token)


# --- text embedding: token ids -> tokens x hidden; a mask of them (arXiv:1810.04805) --------------


def _ids(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["tokens"],), "int64"),)


def _text_params(f: Fields) -> Any:
    rows = f["vocabulary"] + f["positions"] + f["token_types"]
    return rows * f["hidden_size"] + _norm_params(f["norm"], f["hidden_size"])


def _text_peak(f: Fields, kept: Kept) -> Any:
    return 2 * f["tokens"] + _token_elements(f)


def _mask_peak(f: Fields, kept: Kept) -> Any:
    return 3 * f["tokens"]


def _mask_elements(f: Fields) -> Any:
    return f["tokens"]


# --- classifier on the first token ----------------------------------------------------------------


def _has_pooler(f: Fields) -> Any:
    return np.equal(f["pooler"], "tanh")


def _classifier_macs(f: Fields) -> Any:
    return f["hidden_size"] * (_has_pooler(f) * f["hidden_size"] + f["num_classes"])


def _classifier_params(f: Fields) -> Any:
    hidden = f["hidden_size"]
    biases = _has_pooler(f) * hidden + f["num_classes"]
    return _classifier_macs(f) + biases + _norm_params(f["norm"], hidden)


def _classifier_peak(f: Fields, kept: Kept) -> Any:
    source, hidden, classes = _token_elements(f), f["hidden_size"], f["num_classes"]
    held = kept[0] * source
    is_normed = np.not_equal(f["norm"], "none")
    is_alone = ~(is_normed | _has_pooler(f))
    # the norm of a single token is written over it
    is_fresh = ~is_normed | np.greater(f["tokens"], 1) | kept[0]
    at_first = source + np.where(is_alone, classes, is_fresh * hidden)
    at_pooler = (is_normed & _has_pooler(f)) * (held + 2 * hidden)
    at_logits = ~is_alone * (held + hidden + classes)
    return maximum(at_first, at_pooler, at_logits)


def _num_classes(f: Fields) -> Any:
    return f["num_classes"]


_TOKENS: dict[str, type] = {"tokens": int, "hidden_size": int, "norm": str}
_BLOCK: dict[str, type] = {
    **_TOKENS,
    "heads": int,
    "head_size": int,
    "feed_forward_size": int,
    "order": str,
    "activation": str,
}

TRANSFORMERS: dict[str, LayerKind] = {
    "transformer_block": LayerKind(
        _BLOCK, _block_macs, _block_params, _block_peak, _token_inputs, _token_elements,
    ),
    "masked_transformer_block": LayerKind(
        _BLOCK,
        _block_macs, _block_params, partial(_block_peak, mask=1),
        _masked_block_inputs, _token_elements,
    ),
    "patch_embedding": LayerKind(
        {**IMAGE, "patch_size": int, "hidden_size": int},
        _patch_macs, _patch_params, _patch_peak, image_inputs, _patch_elements,
    ),
    "text_embedding": LayerKind(
        {**_TOKENS, "vocabulary": int, "positions": int, "token_types": int},
        zero, _text_params, _text_peak, _ids, _token_elements,
    ),
    "attention_mask": LayerKind({"tokens": int}, zero, zero, _mask_peak, _ids, _mask_elements),
    "token_classifier": LayerKind(
        {**_TOKENS, "pooler": str, "num_classes": int},
        _classifier_macs, _classifier_params, _classifier_peak, _token_inputs, _num_classes,
    ),
}  # fmt: skip

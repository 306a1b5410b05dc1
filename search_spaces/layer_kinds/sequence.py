"""Layers on sequences (channels x frames), and what makes one vector of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search_spaces.layer_kind import Fields, Kept, LayerKind, TensorSpec, maximum, zero

SEQUENCE: Mapping[str, type] = {"in_channels": int, "frames": int}


def _inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["in_channels"], f["frames"]), free=(1,)),)


def _elements(f: Fields) -> Any:
    return f["in_channels"] * f["frames"]


def _output_elements(f: Fields) -> Any:
    return f["out_channels"] * f["frames"]


def _convolution_peak(f: Fields, kept: Kept) -> Any:
    return _elements(f) + _output_elements(f)


# --- dilated convolution, ReLU, batch norm --------------------------------------------------------


def _conv_norm_macs(f: Fields) -> Any:
    return _output_elements(f) * f["in_channels"] * f["kernel"]


def _conv_norm_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] * f["kernel"] + 2 * f["out_channels"]


# --- 1x1 convolution without norm, of joined sequences --------------------------------------------


def _pointwise_macs(f: Fields) -> Any:
    return _output_elements(f) * f["in_channels"]


def _pointwise_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"]


# --- squeeze-excite Res2 block (arXiv:2005.07143) -------------------------------------------------


def _part_channels(f: Fields) -> Any:
    return f["mid_channels"] // f["scale"]


def _res2_macs(f: Fields) -> Any:
    parts = (f["scale"] - 1) * _part_channels(f) ** 2 * f["kernel"]
    outer = 2 * f["in_channels"] * f["mid_channels"]
    return f["frames"] * (outer + parts) + 2 * f["in_channels"] * f["squeeze_channels"]


def _res2_params(f: Fields) -> Any:
    channels, mid, part = f["in_channels"], f["mid_channels"], _part_channels(f)
    parts = (f["scale"] - 1) * (part**2 * f["kernel"] + 2 * part)
    squeeze = 2 * channels * f["squeeze_channels"] + f["squeeze_channels"] + channels
    return 2 * channels * mid + 2 * mid + parts + 2 * channels + squeeze


def _res2_peak(f: Fields, kept: Kept) -> Any:
    source, mid = _elements(f), f["mid_channels"] * f["frames"]
    held = kept[0] * source
    convolved = mid - _part_channels(f) * f["frames"]  # all parts but the last, which passes
    at_join = held + mid + convolved + mid
    at_squeeze = held + source + f["in_channels"] + f["squeeze_channels"]
    return maximum(source + mid, at_join, held + mid + source, at_squeeze)


# --- several sequences of one size ----------------------------------------------------------------


def _joined_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["channels"], f["frames"]), free=(1,)),) * int(f["num_inputs"])


def _one_element(f: Fields) -> Any:
    return f["channels"] * f["frames"]


def _all_elements(f: Fields) -> Any:
    return f["num_inputs"] * _one_element(f)


def _sum_peak(f: Fields, kept: Kept) -> Any:
    first_stays = kept[0] & np.greater(f["num_inputs"], 1)
    return _all_elements(f) + first_stays * _one_element(f)


def _concat_peak(f: Fields, kept: Kept) -> Any:
    return 2 * _all_elements(f)


# --- mean and deviation over time -----------------------------------------------------------------


def _pooled_elements(f: Fields) -> Any:
    return 2 * f["in_channels"]


def _statistics_peak(f: Fields, kept: Kept) -> Any:
    held, vector = kept[0] * _elements(f), f["in_channels"]
    at_variance = held + _elements(f) + 2 * vector
    return maximum(at_variance, held + 4 * vector)


def _attentive_macs(f: Fields) -> Any:
    return 2 * _elements(f) * f["attention_channels"]


def _attentive_params(f: Fields) -> Any:
    return 2 * f["in_channels"] * f["attention_channels"]


def _attentive_peak(f: Fields, kept: Kept) -> Any:
    source, vector = _elements(f), f["in_channels"]
    hidden = f["attention_channels"] * f["frames"]
    at_mean = 3 * source + vector  # the input, its weights, their product
    return maximum(2 * source + hidden, at_mean, kept[0] * source + 4 * vector)


# --- vectors --------------------------------------------------------------------------------------


def _vector_input(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["in_features"],)),)


def _embedding_macs(f: Fields) -> Any:
    return f["in_features"] * f["out_features"]


def _embedding_params(f: Fields) -> Any:
    return _embedding_macs(f) + 2 * f["in_features"] + 3 * f["out_features"]


def _embedding_peak(f: Fields, kept: Kept) -> Any:
    return (1 + kept[0]) * f["in_features"] + f["out_features"]


def _out_features(f: Fields) -> Any:
    return f["out_features"]


def _classifier_macs(f: Fields) -> Any:
    return f["in_features"] * f["num_classes"]


def _classifier_params(f: Fields) -> Any:
    return _classifier_macs(f) + f["num_classes"]


def _classifier_peak(f: Fields, kept: Kept) -> Any:
    return f["in_features"] + f["num_classes"]


def _num_classes(f: Fields) -> Any:
    return f["num_classes"]


_JOINED = {"channels": int, "frames": int, "num_inputs": int}

SEQUENCES: dict[str, LayerKind] = {
    "conv_norm_1d": LayerKind(
        {**SEQUENCE, "out_channels": int, "kernel": int, "dilation": int},
        _conv_norm_macs, _conv_norm_params, _convolution_peak, _inputs, _output_elements,
    ),
    "pointwise_1d": LayerKind(
        {**SEQUENCE, "out_channels": int, "parts": int},
        _pointwise_macs, _pointwise_params, _convolution_peak, _inputs, _output_elements,
    ),
    "res2_block": LayerKind(
        {**SEQUENCE, "mid_channels": int, "scale": int, "kernel": int, "dilation": int,
         "squeeze_channels": int},
        _res2_macs, _res2_params, _res2_peak, _inputs, _elements,
    ),
    "sum_1d": LayerKind(_JOINED, zero, zero, _sum_peak, _joined_inputs, _one_element),
    "concat_1d": LayerKind(_JOINED, zero, zero, _concat_peak, _joined_inputs, _all_elements),
    "statistics_pooling": LayerKind(
        SEQUENCE, zero, zero, _statistics_peak, _inputs, _pooled_elements
    ),
    "attentive_statistics_pooling": LayerKind(
        {**SEQUENCE, "attention_channels": int},
        _attentive_macs, _attentive_params, _attentive_peak, _inputs, _pooled_elements,
    ),
    "pooled_embedding": LayerKind(
        {"in_features": int, "parts": int, "out_features": int},
        _embedding_macs, _embedding_params, _embedding_peak, _vector_input, _out_features,
    ),
    "sequence_classifier": LayerKind(
        {"in_features": int, "num_classes": int},
        _classifier_macs, _classifier_params, _classifier_peak, _vector_input, _num_classes,
    ),
}  # fmt: skip

"""Convolutional blocks on images."""

from typing import Any

import numpy as np

from search_spaces.layer_kind import (
    IMAGE,
    Fields,
    Kept,
    LayerKind,
    image_elements,
    image_inputs,
    maximum,
    output_image_elements,
    output_pixels,
)

# --- convolution + batch norm + activation --------------------------------------------------------


def _conv_norm_macs(f: Fields) -> Any:
    return output_pixels(f) * f["in_channels"] * f["out_channels"] * f["kernel"] ** 2


def _conv_norm_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] * f["kernel"] ** 2 + 2 * f["out_channels"]


def _conv_norm_peak(f: Fields, kept: Kept) -> Any:
    return image_elements(f) + output_image_elements(f)


# --- a bare convolution with bias: the output of dense predictions --------------------------------


def _convolution_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] * f["kernel"] ** 2 + f["out_channels"]


# --- inverted residual: expand, depthwise, squeeze-excite, project (arXiv:1905.02244) ------------


def _has_expansion(f: Fields) -> Any:
    return np.not_equal(f["mid_channels"], f["in_channels"])


def has_residual(f: Fields) -> Any:
    """Tell whether an inverted residual adds its input."""
    return np.equal(f["in_channels"], f["out_channels"]) & np.equal(f["stride"], 1)


def _inverted_residual_macs(f: Fields) -> Any:
    mid, out_size = f["mid_channels"], output_pixels(f)
    expand = _has_expansion(f) * f["height"] * f["width"] * f["in_channels"] * mid
    depthwise = out_size * mid * f["kernel"] ** 2
    squeeze = 2 * mid * f["squeeze_channels"]
    return expand + depthwise + squeeze + out_size * mid * f["out_channels"]


def _inverted_residual_params(f: Fields) -> Any:
    mid, squeezed = f["mid_channels"], f["squeeze_channels"]
    expand = _has_expansion(f) * (f["in_channels"] * mid + 2 * mid)
    depthwise = mid * f["kernel"] ** 2 + 2 * mid
    squeeze = np.greater(squeezed, 0) * (2 * mid * squeezed + squeezed + mid)
    return expand + depthwise + squeeze + mid * f["out_channels"] + 2 * f["out_channels"]


def _inverted_residual_peak(f: Fields, kept: Kept) -> Any:
    size, out_size, squeezed = f["height"] * f["width"], output_pixels(f), f["squeeze_channels"]
    source, expanded = f["in_channels"] * size, f["mid_channels"] * size
    filtered, result = f["mid_channels"] * out_size, f["out_channels"] * out_size
    held = (has_residual(f) | kept[0]) * source
    squeeze = np.greater(squeezed, 0) * (f["mid_channels"] + squeezed)
    at_expansion = _has_expansion(f) * (source + expanded)
    at_depthwise = np.where(_has_expansion(f), expanded + held, source) + filtered
    # a sum is written over its first operand, the input, unless that is needed later
    at_sum = has_residual(f) * kept[0] * (source + 2 * result)
    at_projection = held + filtered + result
    return maximum(at_expansion, at_depthwise, held + filtered + squeeze, at_projection, at_sum)


_CONVOLUTION = {**IMAGE, "out_channels": int, "kernel": int, "stride": int}

CONVOLUTIONS: dict[str, LayerKind] = {
    "conv_norm": LayerKind(
        {**_CONVOLUTION, "activation": str},
        _conv_norm_macs, _conv_norm_params, _conv_norm_peak, image_inputs, output_image_elements,
    ),
    "convolution": LayerKind(
        _CONVOLUTION,
        _conv_norm_macs, _convolution_params, _conv_norm_peak, image_inputs, output_image_elements,
    ),
    "inverted_residual": LayerKind(
        {**_CONVOLUTION, "mid_channels": int, "squeeze_channels": int, "activation": str},
        _inverted_residual_macs, _inverted_residual_params, _inverted_residual_peak,
        image_inputs, output_image_elements, frozenset({"squeeze_channels"}),
    ),
}  # fmt: skip

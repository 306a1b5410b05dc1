"""Residual blocks of convolutions, and the pool that comes before them."""

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
    zero,
)


def _is_projected(f: Fields) -> Any:
    return np.asarray(f["shortcut"]) == "projection"


def _projection_macs(f: Fields) -> Any:
    return _is_projected(f) * output_pixels(f) * f["in_channels"] * f["out_channels"]


def _projection_params(f: Fields) -> Any:
    return _is_projected(f) * (f["in_channels"] * f["out_channels"] + 2 * f["out_channels"])


# --- bottleneck: 1x1, 3x3 with the stride, 1x1 (arXiv:1512.03385, arXiv:1812.01187) ---------------


def _bottleneck_macs(f: Fields) -> Any:
    mid, out_size = f["mid_channels"], output_pixels(f)
    reduce = f["height"] * f["width"] * f["in_channels"] * mid
    inner = out_size * 9 * mid**2
    return reduce + inner + out_size * mid * f["out_channels"] + _projection_macs(f)


def _bottleneck_params(f: Fields) -> Any:
    source, mid, result = f["in_channels"], f["mid_channels"], f["out_channels"]
    convolutions = source * mid + 9 * mid**2 + mid * result
    return convolutions + 4 * mid + 2 * result + _projection_params(f)


def _bottleneck_peak(f: Fields, kept: Kept) -> Any:
    out_size = output_pixels(f)
    source, result = image_elements(f), output_image_elements(f)
    reduced = f["mid_channels"] * f["height"] * f["width"]
    inner = f["mid_channels"] * out_size
    pools = np.greater(f["stride"], 1)
    pooled = pools * f["in_channels"] * out_size
    # the shortcut comes last: the input stays until it is pooled or projected
    at_pool = source + result + pooled
    at_projection = np.where(pools & ~np.asarray(kept[0]), 0, source) + pooled + 2 * result
    at_shortcut = _is_projected(f) * maximum(at_pool, at_projection)
    return maximum(source + reduced + inner, source + inner + result, at_shortcut)


# --- basic block: two 3x3, the first with the stride (arXiv:1512.03385) ---------------------------


def _basic_macs(f: Fields) -> Any:
    channels = f["in_channels"] + f["out_channels"]
    return output_pixels(f) * 9 * f["mid_channels"] * channels + _projection_macs(f)


def _basic_params(f: Fields) -> Any:
    mid, result = f["mid_channels"], f["out_channels"]
    convolutions = 9 * mid * (f["in_channels"] + result)
    return convolutions + 2 * mid + 2 * result + _projection_params(f)


def _basic_peak(f: Fields, kept: Kept) -> Any:
    source, result = image_elements(f), output_image_elements(f)
    inner = f["mid_channels"] * output_pixels(f)
    return source + result + maximum(inner, _is_projected(f) * result)


# --- a convolution beside the identity ------------------------------------------------------------


def _residual_macs(f: Fields) -> Any:
    return image_elements(f) * f["in_channels"] * f["kernel"] ** 2


def _residual_params(f: Fields) -> Any:
    return f["in_channels"] ** 2 * f["kernel"] ** 2 + 2 * f["in_channels"]


def _residual_peak(f: Fields, kept: Kept) -> Any:
    return 2 * image_elements(f)


# --- pool -----------------------------------------------------------------------------------------


def _pooled_elements(f: Fields) -> Any:
    return f["in_channels"] * output_pixels(f)


def _pool_peak(f: Fields, kept: Kept) -> Any:
    return image_elements(f) + _pooled_elements(f)


_BLOCK = {
    **IMAGE,
    "mid_channels": int,
    "out_channels": int,
    "stride": int,
    "shortcut": str,
    "activation": str,
}

RESIDUALS: dict[str, LayerKind] = {
    "bottleneck": LayerKind(
        _BLOCK,
        _bottleneck_macs, _bottleneck_params, _bottleneck_peak, image_inputs, output_image_elements,
    ),
    "basic_block": LayerKind(
        _BLOCK,
        _basic_macs, _basic_params, _basic_peak, image_inputs, output_image_elements,
    ),
    "residual_convolution": LayerKind(
        {**IMAGE, "kernel": int, "activation": str},
        _residual_macs, _residual_params, _residual_peak, image_inputs, image_elements,
    ),
    "max_pool": LayerKind(
        {**IMAGE, "kernel": int, "stride": int},
        zero, zero, _pool_peak, image_inputs, _pooled_elements,
    ),
}  # fmt: skip

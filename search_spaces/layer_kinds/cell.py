"""Layers of searched cells: operations to choose from, sums and joins of what they bring
(arXiv:1806.09055, arXiv:2001.00326).
"""

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
    output_image_elements,
    output_pixels,
    zero,
)

# --- one of several operations: c x h x w -> c x h' x w' ------------------------------------------

# Convolutions with their norm, by operation: (kernel, how many, whether depthwise ones with a
# 1x1 after each). A skip under stride is a factorized reduce: as much as one 1x1 convolution.
_CONVOLUTIONS = {
    "skip_connect": (1, 1, False),
    "nor_conv_1x1": (1, 1, False),
    "nor_conv_3x3": (3, 1, False),
    "dil_conv_3x3": (3, 1, True),
    "dil_conv_5x5": (5, 1, True),
    "sep_conv_3x3": (3, 2, True),
    "sep_conv_5x5": (5, 2, True),
}
_POOLS = ("max_pool_3x3", "avg_pool_3x3")


def _per_operation(f: Fields, values: dict[str, Any]) -> Any:
    """Return the value of the operation that the fields name, 0 for one that is not listed."""
    operation = np.asarray(f["operation"])
    return sum((operation == name) * value for name, value in values.items())


def _weights(f: Fields) -> Any:
    """Numbers in the kernels of all convolutions."""
    channels = f["channels"]
    numbers = {
        name: count * (channels * kernel**2 + channels**2 if depthwise else channels**2 * kernel**2)
        for name, (kernel, count, depthwise) in _CONVOLUTIONS.items()
    }
    return _per_operation(f, numbers)


def _operation_macs(f: Fields) -> Any:
    return output_pixels(f) * _weights(f)


def _operation_params(f: Fields) -> Any:
    num_norms = {name: count for name, (_, count, _) in _CONVOLUTIONS.items()}
    return _weights(f) + 2 * f["channels"] * _per_operation(f, num_norms)


def _operation_peak(f: Fields, kept: Kept) -> Any:
    source = f["channels"] * f["height"] * f["width"]
    result = _operation_elements(f)
    pooling = _per_operation(f, dict.fromkeys(_POOLS, source + result))
    # the first ReLU writes over the input unless that is read again; what follows is no larger
    convolving = dict.fromkeys(_CONVOLUTIONS, (1 + kept[0]) * source + result)
    nothing = {"none": (1 + kept[0]) * source}
    return pooling + _per_operation(f, convolving) + _per_operation(f, nothing)


def _operation_elements(f: Fields) -> Any:
    return f["channels"] * output_pixels(f)


def _channels_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return (TensorSpec((f["channels"], f["height"], f["width"])),)


def _channels_elements(f: Fields) -> Any:
    return f["channels"] * f["height"] * f["width"]


# --- ReLU, convolution, batch norm ----------------------------------------------------------------


def _relu_conv_norm_macs(f: Fields) -> Any:
    return output_pixels(f) * f["in_channels"] * f["out_channels"] * f["kernel"] ** 2


def _relu_conv_norm_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] * f["kernel"] ** 2 + 2 * f["out_channels"]


def _relu_conv_norm_peak(f: Fields, kept: Kept) -> Any:
    return (1 + kept[0]) * image_elements(f) + output_image_elements(f)


# --- halves: images of even height and width ------------------------------------------------------


def _halved_pixels(f: Fields) -> Any:
    return f["height"] * f["width"] // 4


def _halved_elements(f: Fields) -> Any:
    return f["out_channels"] * _halved_pixels(f)


def _factorized_reduce_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] + 2 * f["out_channels"]


def _factorized_reduce_macs(f: Fields) -> Any:
    return _halved_elements(f) * f["in_channels"]


def _factorized_reduce_peak(f: Fields, kept: Kept) -> Any:
    source, result = image_elements(f), _halved_elements(f)
    joining = kept[0] * source + 2 * result
    return maximum((1 + kept[0]) * source + result, joining)


def _reduction_block_weights(f: Fields) -> Any:
    """Two 3x3 convolutions and the 1x1 of the shortcut."""
    return 10 * f["in_channels"] * f["out_channels"] + 9 * f["out_channels"] ** 2


def _reduction_block_macs(f: Fields) -> Any:
    return _halved_pixels(f) * _reduction_block_weights(f)


def _reduction_block_params(f: Fields) -> Any:
    return _reduction_block_weights(f) + 4 * f["out_channels"]


def _reduction_block_peak(f: Fields, kept: Kept) -> Any:
    source, result = image_elements(f), _halved_elements(f)
    pooled = f["in_channels"] * _halved_pixels(f)
    at_shortcut = kept[0] * source + pooled + 2 * result
    # the shortcut reads the input last, so the first ReLU cannot write over it
    return maximum(2 * source + result, source + 2 * result, source + result + pooled, at_shortcut)


# --- several images of one size -------------------------------------------------------------------


def _several_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    return _channels_inputs(f) * int(f["num_inputs"])


def _sum_peak(f: Fields, kept: Kept) -> Any:
    # two terms or more; the first sum is written over the first of them unless that is kept
    return (f["num_inputs"] + kept[0]) * _channels_elements(f)


def _concat_elements(f: Fields) -> Any:
    return f["num_inputs"] * _channels_elements(f)


def _concat_peak(f: Fields, kept: Kept) -> Any:
    return 2 * _concat_elements(f)


# --- batch norm and ReLU --------------------------------------------------------------------------


def _norm_relu_params(f: Fields) -> Any:
    return 2 * f["channels"]


def _norm_relu_peak(f: Fields, kept: Kept) -> Any:
    return (1 + kept[0]) * _channels_elements(f)


_CHANNELS: dict[str, type] = {"channels": int, "height": int, "width": int}
_PAIR = {**IMAGE, "out_channels": int}

CELLS: dict[str, LayerKind] = {
    "cell_operation": LayerKind(
        {**_CHANNELS, "operation": str, "stride": int},
        _operation_macs, _operation_params, _operation_peak, _channels_inputs, _operation_elements,
    ),
    "relu_conv_norm": LayerKind(
        {**_PAIR, "kernel": int, "stride": int},
        _relu_conv_norm_macs, _relu_conv_norm_params, _relu_conv_norm_peak,
        image_inputs, output_image_elements,
    ),
    "factorized_reduce": LayerKind(
        _PAIR,
        _factorized_reduce_macs, _factorized_reduce_params, _factorized_reduce_peak,
        image_inputs, _halved_elements,
    ),
    "reduction_block": LayerKind(
        _PAIR,
        _reduction_block_macs, _reduction_block_params, _reduction_block_peak,
        image_inputs, _halved_elements,
    ),
    "sum": LayerKind(
        {**_CHANNELS, "num_inputs": int},
        zero, zero, _sum_peak, _several_inputs, _channels_elements,
    ),
    "concat": LayerKind(
        {**_CHANNELS, "num_inputs": int},
        zero, zero, _concat_peak, _several_inputs, _concat_elements,
    ),
    "norm_relu": LayerKind(
        _CHANNELS,
        zero, _norm_relu_params, _norm_relu_peak, _channels_inputs, _channels_elements,
    ),
}  # fmt: skip

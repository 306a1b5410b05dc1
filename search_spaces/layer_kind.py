"""What is known of a kind of layer: its fields, and formulas of what it reads, writes and costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Fields = Mapping[str, Any]  # field name -> int, word or integer array; formulas serve all
Kept = tuple[Any, ...]  # of two inputs or more: is each read again later? bool or array


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a layer or a network takes.

    Args:
        shape: without the batch.
        dtype: "float32" or "int64".
        free: positions in `shape` whose size may be another at run time (time, say); costs and
            profiles hold for the size stated.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    free: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerKind:
    """Formulas of one kind of layer. Each takes the fields, as ints or as arrays of equal shape.

    MACs count convolutions and matrix products only. Memory is counted in numbers of 4 bytes (a
    token id is two); every operation writes a fresh output, except that norms, activations and
    element-wise sums and products write over their first input where nothing reads that later.
    Fused attention holds no scores.

    Args:
        fields: name -> int (a size, at least 1) or str (a word).
        macs: multiply-accumulates of one sample.
        num_params: trainable numbers.
        peak_elements: the most numbers alive at once inside the layer, its inputs included; inputs
            that are `Kept` stay alive to its end.
        inputs: what it reads, in order.
        output_elements: numbers of its output.
        may_be_zero: sizes for which 0 says "none of it".
    """

    fields: Mapping[str, type]
    macs: Callable[[Fields], Any]
    num_params: Callable[[Fields], Any]
    peak_elements: Callable[[Fields, Kept], Any]
    inputs: Callable[[Fields], tuple[TensorSpec, ...]]
    output_elements: Callable[[Fields], Any]
    may_be_zero: frozenset[str] = frozenset()


def maximum(*terms: Any) -> Any:
    """Return the element-wise greatest of numbers or arrays."""
    return np.maximum.reduce([np.asarray(term) for term in np.broadcast_arrays(*terms)])


def zero(f: Fields) -> int:
    """Cost nothing."""
    return 0


# --- images: c x h x w ----------------------------------------------------------------------------

IMAGE: Mapping[str, type] = {"in_channels": int, "height": int, "width": int}


def image_inputs(f: Fields) -> tuple[TensorSpec, ...]:
    """One image."""
    return (TensorSpec((f["in_channels"], f["height"], f["width"])),)


def image_elements(f: Fields) -> Any:
    """Numbers of the input image."""
    return f["in_channels"] * f["height"] * f["width"]


def output_pixels(f: Fields) -> Any:
    """Pixels after `stride`, for a convolution padded by kernel // 2."""
    return -(-f["height"] // f["stride"]) * -(-f["width"] // f["stride"])


def output_image_elements(f: Fields) -> Any:
    """Numbers of an output image of `out_channels`."""
    return f["out_channels"] * output_pixels(f)

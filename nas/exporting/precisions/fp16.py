"""Weights and activations in fp16, inputs and outputs in fp32."""

from nas.exporting.parity import Arrays
from nas.exporting.precisions.conversion import Converted, Settings
from nas.exporting.precisions.half import FP16, in_half


def to_fp16(model: bytes, samples: Arrays, settings: Settings) -> Converted:
    """Convert a serialised fp32 model; see `in_half`.

    Raises:
        InputError: no fp32 model, unfit samples, or nothing of it can be computed in fp16.
    """
    return in_half(model, samples, settings, FP16)

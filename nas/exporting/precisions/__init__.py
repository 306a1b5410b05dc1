"""Exported models in other precisions: fp16, bf16 and int8, and whether they pay."""

from collections.abc import Callable

from hardware_profiles.target import Precision
from nas.exporting.parity import Arrays
from nas.exporting.precisions.bf16 import to_bf16
from nas.exporting.precisions.conversion import Converted, Settings
from nas.exporting.precisions.fp16 import to_fp16
from nas.exporting.precisions.fp32 import to_fp32
from nas.exporting.precisions.int8 import to_int8

PRECISIONS: dict[Precision, Callable[[bytes, Arrays, Settings], Converted]] = {
    "fp32": to_fp32,
    "fp16": to_fp16,
    "bf16": to_bf16,
    "int8": to_int8,
}

__all__ = ["PRECISIONS", "Converted", "Settings"]

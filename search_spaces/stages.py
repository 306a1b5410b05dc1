"""What image families of stages share: rounded widths, sizes under strides, blocks of a depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import OptionValues
from search_spaces.space import Dimension


def make_divisible(channels: npt.NDArray[Any], divisor: int = 8) -> npt.NDArray[np.int64]:
    """Round to the nearest multiple of `divisor`, never by more than 10 % down (the MobileNet
    rule).
    """
    rounded = np.maximum(divisor, (channels + divisor / 2).astype(np.int64) // divisor * divisor)
    return np.where(rounded < 0.9 * channels, rounded + divisor, rounded)


def image_size(values: OptionValues, reduction: int) -> dict[str, Any]:
    """Height and width after strides of product `reduction` (each a power of two, rounding up)."""
    side = -(-values["resolution"] // reduction)
    return {"height": side, "width": side}


def stage_dimensions(
    stage: int, depths: Sequence[int], choices: Mapping[str, tuple[Value, ...]]
) -> list[Dimension]:
    """Return the depth of a stage, and the choices of each of its blocks where the depth has it."""
    depth = f"stage{stage}.depth"
    dimensions = [Dimension(depth, tuple(depths))]
    for block in range(1, max(depths) + 1):
        having = frozenset(i for i, blocks in enumerate(depths) if blocks >= block)
        active_when = None if len(having) == len(depths) else (depth, having)
        dimensions += [
            Dimension(f"stage{stage}.block{block}.{name}", options, active_when)
            for name, options in choices.items()
        ]
    return dimensions


def check_image_settings(num_classes: int, input_channels: int) -> None:
    """Check what image data say.

    Raises:
        InputError: less than one class or channel.
    """
    if num_classes < 1 or input_channels < 1:
        raise InputError(
            f"expected at least one class and one channel, got {num_classes} and {input_channels}"
        )

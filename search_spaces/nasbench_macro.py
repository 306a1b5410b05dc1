"""NAS-Bench-Macro: eight layers in a row, one of three blocks at each (arXiv:2103.11922).

A macro space: every layer chooses for itself, nothing is repeated. A table of accuracies is
published for all networks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Architecture, Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot, OptionValues, fixed_slot
from search_spaces.space import Dimension, Population, SearchSpace
from search_spaces.stages import check_image_settings

BLOCKS = ("id", "ir_3x3_t3", "ir_5x5_t6")  # their digit in the text form is their position
IDENTITY = 0
EXPANSION_AND_KERNEL = {"ir_3x3_t3": (3, 3), "ir_5x5_t6": (6, 5)}
LAYERS_PER_STAGE = (2, 3, 3)  # the first of each halves the image and doubles the channels
NUM_LAYERS = sum(LAYERS_PER_STAGE)
DIMENSIONS = tuple(f"layer{number}" for number in range(1, NUM_LAYERS + 1))


@dataclass(frozen=True)
class NasBenchMacro:
    """Every number of one preset."""

    name: str
    resolution: int
    stem_channels: int
    final_channels: int


PUBLISHED = NasBenchMacro("nasbench-macro", resolution=32, stem_channels=32, final_channels=1280)
DIGITS = NasBenchMacro("nasbench-macro-digits", resolution=8, stem_channels=8, final_channels=96)


def nasbench_macro(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Return the space of 6,561 architectures (3,969 networks) for images of 32 px."""
    return nasbench_macro_space(PUBLISHED, num_classes, input_channels)


def nasbench_macro_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Return the same choices, narrower, for images of 8 px: for a first try."""
    return nasbench_macro_space(DIGITS, num_classes, input_channels)


def nasbench_macro_space(
    preset: NasBenchMacro, num_classes: int, input_channels: int
) -> SearchSpace:
    """Build the space of a preset; `parse` reads eight digits, one a layer: "02012100".

    `equivalence_key` is the choices with the identities of a stage moved to its end: an identity
    passes its input on, wherever in its stage it stands. The first layer of a stage changes the
    size of the image, so its identity is a 1x1 convolution, and stays where it is.

    Raises:
        InputError: less than one class or channel.
    """
    check_image_settings(num_classes, input_channels)
    return SearchSpace(
        f"{preset.name}@1",
        [Dimension(name, BLOCKS) for name in DIMENSIONS],
        _slots(preset, num_classes, input_channels),
        _parse,
        {"num_classes": num_classes, "input_channels": input_channels},
        network_key,
    )


def layer_digits(architecture: Architecture) -> str:
    """Return the published text form, which `SearchSpace.parse` reads back."""
    values = architecture.values
    return "".join(str(BLOCKS.index(str(values[name]))) for name in DIMENSIONS)


def network_key(population: Population) -> npt.NDArray[np.int16]:
    """Return the choices with every stage's identities last, `n x 8`."""
    key = population.copy()
    start = 0
    for layers in LAYERS_PER_STAGE:
        rest = key[:, start + 1 : start + layers]
        order = np.argsort(rest == IDENTITY, axis=1, kind="stable")
        key[:, start + 1 : start + layers] = np.take_along_axis(rest, order, axis=1)
        start += layers
    return key


def _slots(preset: NasBenchMacro, num_classes: int, input_channels: int) -> list[LayerSlot]:
    channels, side = preset.stem_channels, preset.resolution
    slots = [fixed_slot("stem", "conv_norm", _conv(input_channels, channels, side, 3, 1, "relu"))]
    names = iter(DIMENSIONS)
    for layers in LAYERS_PER_STAGE:
        slots += _reduction(next(names), channels, side)
        channels, side = 2 * channels, -(-side // 2)
        slots += [_block(next(names), channels, channels, side, 1) for _ in range(layers - 1)]
    final = _conv(channels, preset.final_channels, side, 1, 1, "relu")
    classifier = {"hidden_channels": 0, "num_classes": num_classes, "activation": "none"}
    return [
        *slots,
        fixed_slot("final", "conv_norm", final),
        fixed_slot(
            "classifier",
            "classifier",
            {"in_channels": preset.final_channels, "height": side, "width": side} | classifier,
        ),
    ]


def _conv(
    source: int, result: int, side: int, kernel: int, stride: int, activation: str
) -> dict[str, Any]:
    return {
        "in_channels": source,
        "out_channels": result,
        "height": side,
        "width": side,
        "kernel": kernel,
        "stride": stride,
        "activation": activation,
    }


def _reduction(dimension: str, channels: int, side: int) -> list[LayerSlot]:
    """Return the two layers of which one stands at the start of a stage."""
    projection = LayerSlot(
        f"{dimension}_projection",
        "conv_norm",
        (dimension,),
        lambda values: _conv(channels, 2 * channels, side, 1, 2, "none"),
        present=lambda values: values[dimension] == BLOCKS[IDENTITY],
    )
    return [projection, _block(dimension, channels, 2 * channels, side, 2)]


def _block(dimension: str, source: int, result: int, side: int, stride: int) -> LayerSlot:
    def fields(values: OptionValues) -> dict[str, Any]:
        chosen = [EXPANSION_AND_KERNEL.get(name, (1, 1)) for name in values[dimension].tolist()]
        expansion, kernel = np.array(chosen).T
        block = _conv(source, result, side, 0, stride, "relu")
        return block | {
            "kernel": kernel,
            "mid_channels": source * expansion,
            "squeeze_channels": 0,
        }

    return LayerSlot(
        dimension,
        "inverted_residual",
        (dimension,),
        fields,
        present=lambda values: values[dimension] != BLOCKS[IDENTITY],
    )


def _parse(text: str) -> Mapping[str, Value]:
    """Read values by dimension name, or the published text form."""
    if text.lstrip().startswith("{"):
        values: Mapping[str, Value] = json.loads(text)
        return values
    digits = text.strip()
    if len(digits) != NUM_LAYERS or not set(digits) <= set("012"):
        raise InputError(f"expected {NUM_LAYERS} digits of 0 to 2, leading zeros included")
    return {name: BLOCKS[int(digit)] for name, digit in zip(DIMENSIONS, digits, strict=True)}

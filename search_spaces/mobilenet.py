"""MobileNetV3-like spaces: depth, kernel, expansion, width and input resolution elastic
(arXiv:1905.02244, arXiv:1908.09791).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot
from search_spaces.space import Dimension, SearchSpace
from search_spaces.stages import (
    check_image_settings,
    image_size,
    make_divisible,
    stage_dimensions,
)

Values = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: `channels` at width 1, the first block with `stride`."""

    channels: int
    stride: int
    squeeze_excite: bool
    activation: str


@dataclass(frozen=True)
class MobileNet:
    """Every number of one preset."""

    name: str
    resolutions: tuple[int, ...]
    widths: tuple[float, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    stages: tuple[Stage, ...]
    stem_channels: int
    stem_stride: int
    first_block: bool  # a fixed 3x3 block without expansion after the stem
    final_channels: int
    hidden_channels: int


def mobilenet_space(preset: MobileNet, num_classes: int, input_channels: int) -> SearchSpace:
    """Build the space of a preset for images of `input_channels` and `num_classes`.

    Raises:
        InputError: less than one class or channel.
    """
    check_image_settings(num_classes, input_channels)
    dimensions = [Dimension("resolution", preset.resolutions), Dimension("width", preset.widths)]
    block = {"kernel": preset.kernels, "expansion": preset.expansions}
    for s in range(1, len(preset.stages) + 1):
        dimensions += stage_dimensions(s, preset.depths, block)
    return SearchSpace(
        f"{preset.name}@1",
        dimensions,
        _slots(preset, num_classes, input_channels),
        lambda text: _parse(preset, text),
        {"num_classes": num_classes, "input_channels": input_channels},
    )


def _slots(preset: MobileNet, num_classes: int, input_channels: int) -> list[LayerSlot]:
    whole = ("resolution", "width")
    slots = [LayerSlot("stem", "conv_norm", whole, partial(_stem, preset, input_channels))]
    source, reduction = preset.stem_channels, preset.stem_stride
    if preset.first_block:
        first = partial(_first_block, source, reduction)
        slots.append(LayerSlot("first_block", "inverted_residual", whole, first))
    for s, stage in enumerate(preset.stages, start=1):
        for b in range(1, max(preset.depths) + 1):
            stride = stage.stride if b == 1 else 1
            slots.append(_block_slot(stage, source, stride, reduction, s, b))
            source, reduction = stage.channels, reduction * stride
    final = partial(_final, preset, source, reduction)
    classifier = partial(_classifier, preset, num_classes, reduction)
    slots.append(LayerSlot("final", "conv_norm", whole, final))
    slots.append(LayerSlot("classifier", "classifier", whole, classifier))
    return slots


def _channels(base: int, values: Values) -> npt.NDArray[np.int64]:
    return make_divisible(base * values["width"])


def _stem(preset: MobileNet, input_channels: int, values: Values) -> dict[str, Any]:
    return image_size(values, 1) | {
        "in_channels": input_channels,
        "out_channels": _channels(preset.stem_channels, values),
        "kernel": 3,
        "stride": preset.stem_stride,
        "activation": "hard_swish",
    }


def _first_block(base: int, reduction: int, values: Values) -> dict[str, Any]:
    channels = _channels(base, values)
    return image_size(values, reduction) | {
        "in_channels": channels,
        "mid_channels": channels,
        "out_channels": channels,
        "kernel": 3,
        "stride": 1,
        "squeeze_channels": 0,
        "activation": "relu",
    }


def _block_slot(
    stage: Stage, source: int, stride: int, reduction: int, s: int, b: int
) -> LayerSlot:
    """Return block `b` of stage `s`, which reads `source` channels (at width 1)."""
    depth, kernel = f"stage{s}.depth", f"stage{s}.block{b}.kernel"
    expansion = f"stage{s}.block{b}.expansion"

    def fields(values: Values) -> dict[str, Any]:
        in_channels = _channels(source, values)
        mid_channels = make_divisible(in_channels * values[expansion])
        return image_size(values, reduction) | {
            "in_channels": in_channels,
            "mid_channels": mid_channels,
            "out_channels": _channels(stage.channels, values),
            "kernel": values[kernel],
            "stride": stride,
            "squeeze_channels": make_divisible(mid_channels // 4) if stage.squeeze_excite else 0,
            "activation": stage.activation,
        }

    return LayerSlot(
        name=f"stage{s}_block{b}",
        kind="inverted_residual",
        depends_on=("resolution", "width", depth, kernel, expansion),
        fields=fields,
        present=lambda values: values[depth] >= b,
    )


def _final(preset: MobileNet, source: int, reduction: int, values: Values) -> dict[str, Any]:
    return image_size(values, reduction) | {
        "in_channels": _channels(source, values),
        "out_channels": _channels(preset.final_channels, values),
        "kernel": 1,
        "stride": 1,
        "activation": "hard_swish",
    }


def _classifier(
    preset: MobileNet, num_classes: int, reduction: int, values: Values
) -> dict[str, Any]:
    return image_size(values, reduction) | {
        "in_channels": _channels(preset.final_channels, values),
        "hidden_channels": _channels(preset.hidden_channels, values),
        "num_classes": num_classes,
        "activation": "hard_swish",
    }


def _parse(preset: MobileNet, text: str) -> dict[str, Value]:
    """Read values by dimension name, or once-for-all's form: {"ks": [...], "e": [...], "d": [...],
    "r": 224}.

    In that form every stage lists as many blocks as the deepest one has; those beyond its depth say
    nothing.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or ("ks" not in data and "d" not in data):
        return data
    if not {"ks", "e", "d", "r"} <= set(data) <= {"ks", "e", "d", "r", "w"}:
        raise InputError(f"expected keys ks, e, d, r (and w), got {', '.join(data)}")
    per_stage = max(preset.depths)
    blocks = per_stage * len(preset.stages)
    if (len(data["ks"]), len(data["e"]), len(data["d"])) != (blocks, blocks, len(preset.stages)):
        raise InputError(f"expected {blocks} entries in ks and e and {len(preset.stages)} in d")
    if not set(data["d"]) <= set(preset.depths):
        raise InputError(f"expected depths of {preset.depths}, got {data['d']}")
    values: dict[str, Value] = {"resolution": data["r"], "width": data.get("w", preset.widths[-1])}
    for s, depth in enumerate(data["d"]):
        values[f"stage{s + 1}.depth"] = depth
        for b in range(depth):
            values[f"stage{s + 1}.block{b + 1}.kernel"] = data["ks"][s * per_stage + b]
            values[f"stage{s + 1}.block{b + 1}.expansion"] = data["e"][s * per_stage + b]
    return values


DIGITS = MobileNet(
    name="mobilenet-digits",
    resolutions=(8, 12, 16),
    widths=(0.5, 1.0),
    depths=(1, 2, 3),
    kernels=(3, 5),
    expansions=(2, 3, 4),
    stages=(
        Stage(16, 2, False, "relu"),
        Stage(24, 2, True, "hard_swish"),
        Stage(32, 1, True, "hard_swish"),
    ),
    stem_channels=16,
    stem_stride=1,
    first_block=False,
    final_channels=96,
    hidden_channels=64,
)

CIFAR = MobileNet(
    name="mobilenet-cifar",
    resolutions=(24, 28, 32),
    widths=(0.75, 1.0),
    depths=(2, 3, 4),
    kernels=(3, 5),
    expansions=(3, 4, 6),
    stages=(
        Stage(24, 1, False, "relu"),
        Stage(40, 2, True, "relu"),
        Stage(80, 2, False, "hard_swish"),
        Stage(112, 1, True, "hard_swish"),
    ),
    stem_channels=16,
    stem_stride=1,
    first_block=True,
    final_channels=480,
    hidden_channels=640,
)

V3 = MobileNet(
    name="mobilenet-v3",
    resolutions=tuple(range(128, 225, 4)),
    widths=(1.0,),
    depths=(2, 3, 4),
    kernels=(3, 5, 7),
    expansions=(3, 4, 6),
    stages=(
        Stage(24, 2, False, "relu"),
        Stage(40, 2, True, "relu"),
        Stage(80, 2, False, "hard_swish"),
        Stage(112, 1, True, "hard_swish"),
        Stage(160, 2, True, "hard_swish"),
    ),
    stem_channels=16,
    stem_stride=2,
    first_block=True,
    final_channels=960,
    hidden_channels=1280,
)


V3_W12 = replace(V3, name="mobilenet-v3-w1.2", widths=(1.2,))


def mobilenet_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Small images (8 to 16 px), trains in under two minutes on a CPU."""
    return mobilenet_space(DIGITS, num_classes, input_channels)


def mobilenet_cifar(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Images of 24 to 32 px."""
    return mobilenet_space(CIFAR, num_classes, input_channels)


def mobilenet_v3(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """The once-for-all ImageNet space: 5 stages, 7371^5 architectures at each of 25 resolutions."""
    return mobilenet_space(V3, num_classes, input_channels)


def mobilenet_v3_w12(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """The once-for-all ImageNet space at width 1.2."""
    return mobilenet_space(V3_W12, num_classes, input_channels)

"""ResNets: depth, width, inner width and input resolution elastic (arXiv:1512.03385; ResNet-D:
arXiv:1812.01187; as a supernet: arXiv:1908.09791).
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot, OptionValues
from search_spaces.space import Dimension, SearchSpace
from search_spaces.stages import check_image_settings, image_size, make_divisible, stage_dimensions


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: `channels` at width 1, the first block with `stride`."""

    channels: int
    stride: int
    depths: tuple[int, ...]


@dataclass(frozen=True)
class ResNet:
    """Every number of one preset.

    `deep_stem_channels` (at width 1) says that the stem is ResNet-D's: a 3x3 convolution of stride
    2 to half of them, one more of that width that may be left out, one to all of them, and a max
    pool; each of its two widths is a dimension. Where it is 0, the stem is one 3x3 convolution to
    the width of the first stage.
    """

    name: str
    block: str  # a kind of layer
    resolutions: tuple[int, ...]
    widths: tuple[float, ...]
    expansions: tuple[float, ...]  # inner channels of a block, as a share of its outer ones
    stages: tuple[Stage, ...]
    deep_stem_channels: int
    divisor: int  # of all numbers of channels


@dataclass(frozen=True)
class Width:
    """Channels that follow from one dimension: a part of `channels` times its option."""

    dimension: str
    channels: int
    divisor: int
    parts: int = 1

    def of(self, width: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the channels of widths."""
        whole = make_divisible(self.channels * width, self.divisor)
        return make_divisible(whole // self.parts, self.divisor)

    def __call__(self, values: OptionValues) -> npt.NDArray[np.int64]:
        """Return the channels of option values."""
        return self.of(values[self.dimension])


def resnet_space(preset: ResNet, num_classes: int, input_channels: int) -> SearchSpace:
    """Build the space of a preset for images of `input_channels` and `num_classes`.

    Raises:
        InputError: less than one class or channel.
    """
    check_image_settings(num_classes, input_channels)
    widths = [
        Width(f"stage{s}.width", stage.channels, preset.divisor)
        for s, stage in enumerate(preset.stages, start=1)
    ]
    dimensions = [Dimension("resolution", preset.resolutions)]
    if preset.deep_stem_channels:
        inner = Width("stem.inner.width", preset.deep_stem_channels, preset.divisor, parts=2)
        source = Width("stem.width", preset.deep_stem_channels, preset.divisor)
        dimensions.append(Dimension("stem.depth", (2, 3)))
        dimensions += [Dimension(w.dimension, preset.widths) for w in (inner, source)]
        slots, reduction = _deep_stem(input_channels, inner, source), 4
    else:
        source, reduction = widths[0], 1
        slots = [_convolution("stem", input_channels, source, 1, 1)]
    for s, (stage, width) in enumerate(zip(preset.stages, widths, strict=True), start=1):
        dimensions.append(Dimension(width.dimension, preset.widths))
        dimensions += stage_dimensions(s, stage.depths, {"expansion": preset.expansions})
        for b in range(1, max(stage.depths) + 1):
            stride = stage.stride if b == 1 else 1
            slots.append(_block_slot(preset, source, width, stride, reduction, s, b))
            source, reduction = width, reduction * stride
    slots.append(
        LayerSlot(
            "classifier", "classifier", ("resolution", source.dimension),
            lambda values: image_size(values, reduction) | {
                "in_channels": source(values), "hidden_channels": 0, "num_classes": num_classes,
                "activation": "none",
            },
        )
    )  # fmt: skip
    space = SearchSpace(
        f"{preset.name}@1",
        dimensions,
        slots,
        lambda text: _parse(preset, text),
        {"num_classes": num_classes, "input_channels": input_channels},
        # rounding makes channels of different widths and expansions equal
        lambda population: space.layers.network_key(population),
    )
    return space


# --- layers ---------------------------------------------------------------------------------------


def _convolution(
    name: str, source: Width | int, width: Width, stride: int, reduction: int
) -> LayerSlot:
    """Return a 3x3 convolution with norm and ReLU."""

    def fields(values: OptionValues) -> dict[str, Any]:
        return image_size(values, reduction) | {
            "in_channels": source if isinstance(source, int) else source(values),
            "out_channels": width(values),
            "kernel": 3,
            "stride": stride,
            "activation": "relu",
        }

    read = () if isinstance(source, int) else (source.dimension,)
    return LayerSlot(name, "conv_norm", ("resolution", *read, width.dimension), fields)


def _deep_stem(input_channels: int, inner: Width, width: Width) -> list[LayerSlot]:
    def residual(values: OptionValues) -> dict[str, Any]:
        channels = {"in_channels": inner(values), "kernel": 3, "activation": "relu"}
        return image_size(values, 2) | channels

    def pool(values: OptionValues) -> dict[str, Any]:
        return image_size(values, 2) | {"in_channels": width(values), "kernel": 3, "stride": 2}

    return [
        _convolution("stem", input_channels, inner, 2, 1),
        LayerSlot(
            "stem_residual", "residual_convolution", ("resolution", inner.dimension, "stem.depth"),
            residual, present=lambda values: values["stem.depth"] == 3,
        ),
        _convolution("stem_output", inner, width, 1, 2),
        LayerSlot("stem_pool", "max_pool", ("resolution", width.dimension), pool),
    ]  # fmt: skip


def _block_slot(
    preset: ResNet, source: Width, width: Width, stride: int, reduction: int, s: int, b: int
) -> LayerSlot:
    """Return block `b` of stage `s`; where it begins another width, its shortcut is projected."""
    depth, expansion = f"stage{s}.depth", f"stage{s}.block{b}.expansion"
    depends_on = ["resolution", width.dimension, expansion]
    if source is not width:
        depends_on.append(source.dimension)
    always = b <= min(preset.stages[s - 1].depths)

    def fields(values: OptionValues) -> dict[str, Any]:
        inner = np.rint(width(values) * values[expansion])
        return image_size(values, reduction) | {
            "in_channels": source(values),
            "mid_channels": make_divisible(inner, preset.divisor),
            "out_channels": width(values),
            "stride": stride,
            "shortcut": "identity" if source is width and stride == 1 else "projection",
            "activation": "relu",
        }

    return LayerSlot(
        name=f"stage{s}_block{b}",
        kind=preset.block,
        depends_on=tuple(depends_on if always else [*depends_on, depth]),
        fields=fields,
        present=None if always else lambda values: values[depth] >= b,
    )


def _parse(preset: ResNet, text: str) -> dict[str, Value]:
    """Read values by dimension name, or, where the stem is deep, once-for-all's form:
    {"d": [...], "e": [...], "w": [...], "r": 224} ("image_size" for "r").

    `d`: blocks of the stem (kept where it is the greatest) and of each stage beyond the least;
    `e`: expansions, as many for every stage as its deepest form has blocks; `w`: positions in the
    list of widths, of the stem's inside, the stem and each stage.
    """
    data = json.loads(text)
    if not preset.deep_stem_channels or not isinstance(data, dict) or "d" not in data:
        return data  # type: ignore[no-any-return]
    size = "image_size" if "image_size" in data else "r"
    if set(data) != {"d", "e", "w", size}:
        raise InputError(f"expected keys d, e, w and r (or image_size), got {', '.join(data)}")
    num_stages = len(preset.stages)
    blocks = sum(max(stage.depths) for stage in preset.stages)
    for key, length in {"d": 1 + num_stages, "e": blocks, "w": 2 + num_stages}.items():
        if not isinstance(data[key], list) or len(data[key]) != length:
            raise InputError(f"expected {length} entries in {key}, got {data[key]}")
    extra = max(preset.stages[0].depths) - min(preset.stages[0].depths)
    if not set(data["d"]) <= set(range(extra + 1)):
        raise InputError(f"expected depths from 0 to {extra}, got {data['d']}")
    if not set(data["w"]) <= set(range(len(preset.widths))):
        raise InputError(f"expected positions 0 to {len(preset.widths) - 1} in w, got {data['w']}")
    names = ["stem.inner", "stem", *(f"stage{s + 1}" for s in range(num_stages))]
    values: dict[str, Value] = {
        f"{name}.width": preset.widths[i] for name, i in zip(names, data["w"], strict=True)
    }
    values |= {"resolution": data[size], "stem.depth": 3 if data["d"][0] == extra else 2}
    first = 0
    for s, stage in enumerate(preset.stages, start=1):
        depth = values[f"stage{s}.depth"] = min(stage.depths) + data["d"][s]
        for b in range(depth):
            values[f"stage{s}.block{b + 1}.expansion"] = data["e"][first + b]
        first += max(stage.depths)
    return values


# --- presets --------------------------------------------------------------------------------------

DIGITS = ResNet(
    name="resnet-digits",
    block="basic_block",
    resolutions=(8, 12, 16),
    widths=(0.5, 1.0),
    expansions=(0.5, 0.75, 1.0),
    stages=(Stage(16, 1, (1, 2)), Stage(32, 2, (1, 2, 3))),
    deep_stem_channels=0,
    divisor=4,
)

CIFAR = ResNet(
    name="resnet-cifar",
    block="basic_block",
    resolutions=(24, 28, 32),
    widths=(0.5, 0.75, 1.0),
    expansions=(0.5, 0.75, 1.0),
    stages=tuple(Stage(c, s, (1, 2, 3, 5)) for c, s in ((16, 1), (32, 2), (64, 2))),
    deep_stem_channels=0,
    divisor=4,
)

CIFAR_SMALL = replace(
    CIFAR,
    name="resnet-cifar-small",
    resolutions=(16, 20, 24),
    stages=tuple(Stage(c, 2, (1, 2)) for c in (16, 32, 64)),
)

RESNET_50D = ResNet(
    name="resnet-50d",
    block="bottleneck",
    resolutions=(128, 144, 160, 176, 192, 224, 240, 256),
    widths=(0.65, 0.8, 1.0),
    expansions=(0.2, 0.25, 0.35),
    stages=(
        Stage(256, 1, (2, 3, 4)),
        Stage(512, 2, (2, 3, 4)),
        Stage(1024, 2, (4, 5, 6)),
        Stage(2048, 2, (2, 3, 4)),
    ),
    deep_stem_channels=64,
    divisor=8,
)


def resnet_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Small images (8 to 16 px) through basic blocks; trains in under two minutes on a CPU."""
    return resnet_space(DIGITS, num_classes, input_channels)


def resnet_cifar(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Images of 24 to 32 px; holds ResNet-20 and ResNet-32 (projected shortcuts) and smaller ones.

    Plain ReLUs and sums only, which survive 8-bit integers.
    """
    return resnet_space(CIFAR, num_classes, input_channels)


def resnet_cifar_small(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Images of 16 to 24 px through few basic blocks; trains in twenty minutes on a CPU."""
    return resnet_space(CIFAR_SMALL, num_classes, input_channels)


def resnet_50d(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """Once-for-all's ImageNet space of ResNet-D bottlenecks, around ResNet-50D."""
    return resnet_space(RESNET_50D, num_classes, input_channels)

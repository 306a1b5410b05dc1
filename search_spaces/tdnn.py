"""Time-delay networks on sequences: depth, kernels and widths elastic (EfficientTDNN,
arXiv:2103.13581, on the blocks of ECAPA-TDNN, arXiv:2005.07143).

Sequences are b x features x frames, of any number of frames; costs hold for the number stated.
Shared kernels are centre crops, without the learned maps between sizes that the paper adds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.architecture import Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot, OptionValues, Selected, Source
from search_spaces.space import Dimension, SearchSpace


@dataclass(frozen=True)
class Tdnn:
    """Every number of one preset.

    Raises:
        InputError: widths that do not divide into the parts of a block.
    """

    name: str
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    widths: tuple[int, ...]  # channels between blocks, and those inside of each block
    cat_widths: tuple[int, ...]  # channels after the join of all blocks
    scale: int  # parts inside a block
    squeeze: int  # the reduction of squeeze-excite
    attention_channels: int  # of the pooling; 0: frames are not weighted
    embedding: int

    def __post_init__(self) -> None:
        wrong = [width for width in self.widths if width % self.scale or width % self.squeeze]
        if wrong:
            raise InputError(
                f"{self.name}: expected widths that are multiples of {self.scale} (scale) and of "
                f"{self.squeeze} (squeeze), got {wrong}"
            )


def tdnn_space(preset: Tdnn, num_classes: int, num_features: int, frames: int) -> SearchSpace:
    """Build the space of a preset for sequences of `num_features` x `frames`.

    Raises:
        InputError: less than one class, feature or frame.
    """
    settings = {"num_classes": num_classes, "num_features": num_features, "frames": frames}
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"{preset.name}: expected {name} of at least 1, got {value}")
    dimensions = [Dimension("depth", preset.depths), Dimension("width", preset.widths)]
    dimensions.append(Dimension("stem.kernel", preset.kernels))
    for b in range(1, max(preset.depths) + 1):
        having = frozenset(i for i, depth in enumerate(preset.depths) if depth >= b)
        active_when = None if len(having) == len(preset.depths) else ("depth", having)
        dimensions.append(Dimension(f"block{b}.width", preset.widths, active_when))
        dimensions.append(Dimension(f"block{b}.kernel", preset.kernels, active_when))
    dimensions.append(Dimension("cat_width", preset.cat_widths))
    return SearchSpace(
        f"{preset.name}@1",
        dimensions,
        [
            _stem(num_features, frames),
            *(slot for b in range(1, max(preset.depths) + 1) for slot in _block(preset, b, frames)),
            *(_join(depth, frames) for depth in preset.depths if depth > 1),
            *_head(preset, num_classes, frames),
        ],
        _parse,
        settings,
        modality="sequence",
    )


def _stem(num_features: int, frames: int) -> LayerSlot:
    def fields(values: OptionValues) -> dict[str, Any]:
        return {
            "in_channels": num_features, "out_channels": values["width"], "frames": frames,
            "kernel": values["stem.kernel"], "dilation": 1,
        }  # fmt: skip

    return LayerSlot("stem", "conv_norm_1d", ("width", "stem.kernel"), fields)


def _block(preset: Tdnn, b: int, frames: int) -> list[LayerSlot]:
    """Return block `b`, what it gives together with the sum of all before it, and the new sum."""
    width, kernel = f"block{b}.width", f"block{b}.kernel"

    def fields(values: OptionValues) -> dict[str, Any]:
        return {
            "in_channels": values["width"], "mid_channels": values[width], "frames": frames,
            "squeeze_channels": values["width"] // preset.squeeze, "scale": preset.scale,
            "kernel": values[kernel], "dilation": b + 1,
        }  # fmt: skip

    def add(name: str, first: str, second: str, depth: int) -> LayerSlot:
        return LayerSlot(
            name,
            "sum_1d",
            ("depth", "width"),
            lambda values: {"channels": values["width"], "frames": frames, "num_inputs": 2},
            lambda values: values["depth"] >= depth,
            (first, second),
        )

    before, total = ("stem", "stem") if b == 1 else (f"output{b - 1}", f"total{b - 1}")
    block = LayerSlot(
        f"block{b}",
        "res2_block",
        ("depth", "width", width, kernel),
        fields,
        lambda values: values["depth"] >= b,
        (before,),
    )
    slots = [block, add(f"output{b}", f"block{b}", total, b)]
    if b < max(preset.depths):  # the last block has no follower that reads the sum
        slots.append(add(f"total{b}", total, f"output{b}", b + 1))
    return slots


def _join(depth: int, frames: int) -> LayerSlot:
    """Return the join of all blocks' outputs where the network has `depth` blocks."""
    return LayerSlot(
        f"join{depth}",
        "concat_1d",
        ("depth", "width"),
        lambda values: {"channels": values["width"], "frames": frames, "num_inputs": depth},
        lambda values: values["depth"] == depth,
        tuple(f"output{b}" for b in range(1, depth + 1)),
    )


def _head(preset: Tdnn, num_classes: int, frames: int) -> list[LayerSlot]:
    joined: dict[Value, str] = {d: f"join{d}" if d > 1 else "output1" for d in preset.depths}
    source: Source = Selected("depth", joined)
    attention = {"attention_channels": preset.attention_channels}
    pooling = "attentive_statistics_pooling" if preset.attention_channels else "statistics_pooling"

    def cat_fields(values: OptionValues) -> dict[str, Any]:
        return {
            "in_channels": values["depth"] * values["width"], "parts": values["depth"],
            "out_channels": values["cat_width"], "frames": frames,
        }  # fmt: skip

    def pooling_fields(values: OptionValues) -> dict[str, Any]:
        sizes = {"in_channels": values["cat_width"], "frames": frames}
        return sizes | attention if preset.attention_channels else sizes

    def embedding_fields(values: OptionValues) -> dict[str, Any]:
        features = 2 * values["cat_width"]
        return {"in_features": features, "parts": 2, "out_features": preset.embedding}

    def classifier_fields(values: OptionValues) -> dict[str, Any]:
        return {"in_features": preset.embedding, "num_classes": num_classes}

    cat_reads = ("depth", "width", "cat_width")
    return [
        LayerSlot("cat", "pointwise_1d", cat_reads, cat_fields, reads=(source,)),
        LayerSlot("pooling", pooling, ("cat_width",), pooling_fields),
        LayerSlot("embedding", "pooled_embedding", ("cat_width",), embedding_fields),
        LayerSlot("classifier", "sequence_classifier", (), classifier_fields),
    ]


def _parse(text: str) -> Mapping[str, Value]:
    """Read values by dimension name, or the published form: (depth, [width, of each block],
    [stem kernel, of each block], cat width).
    """
    data = json.loads(text.replace("(", "[").replace(")", "]") if text[:1] in "([" else text)
    if not isinstance(data, list):
        return data  # type: ignore[no-any-return]
    if len(data) != 4:
        raise InputError(f"expected (depth, widths, kernels, cat width), got {len(data)} entries")
    depth, (width, *widths), (kernel, *kernels), cat_width = data
    if not len(widths) == len(kernels) == depth:
        raise InputError(f"expected {depth} widths and kernels after the first, one of each block")
    values = {"depth": depth, "width": width, "stem.kernel": kernel, "cat_width": cat_width}
    for b, (block_width, block_kernel) in enumerate(zip(widths, kernels, strict=True), start=1):
        values[f"block{b}.width"], values[f"block{b}.kernel"] = block_width, block_kernel
    return values


COARSE = Tdnn(
    name="tdnn",
    depths=(2, 3, 4),
    kernels=(1, 3, 5),
    widths=(128, 176, 256, 384, 512),
    cat_widths=(384, 536, 768, 1152, 1536),
    scale=8,
    squeeze=4,
    attention_channels=128,
    embedding=192,
)

DIGITS = Tdnn(
    name="tdnn-digits",
    depths=(1, 2, 3),
    kernels=(1, 3),
    widths=(8, 16, 24),
    cat_widths=(24, 48),
    scale=4,
    squeeze=4,
    attention_channels=0,
    embedding=24,
)


def tdnn(num_classes: int = 5994, num_features: int = 80, frames: int = 300) -> SearchSpace:
    """Build EfficientTDNN's coarse space for speakers, 3 s of 80 filter-bank features: 4,066,875
    architectures.
    """
    return tdnn_space(COARSE, num_classes, num_features, frames)


def tdnn_digits(num_classes: int = 10, num_features: int = 8, frames: int = 8) -> SearchSpace:
    """Build a tiny space: images read column by column, rows as features."""
    return tdnn_space(DIGITS, num_classes, num_features, frames)

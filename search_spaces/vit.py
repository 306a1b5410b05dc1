"""Vision transformers: depth and embedding width of the whole, heads and feed-forward ratio of
every block elastic, as in AutoFormer (arXiv:2107.00651) on DeiT's shapes (arXiv:2012.12877).

Heads have a fixed size, so fewer heads are the first ones. Positions are learned and absolute;
AutoFormer's own networks add relative ones (some 100,000 parameters), which are not here. Images
have one size: positions are tied to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Value
from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot
from search_spaces.space import Dimension, SearchSpace
from search_spaces.stages import check_image_settings

Values = Mapping[str, npt.NDArray[Any]]
PUBLISHED_KEYS = ("depth", "embed_dim", "mlp_ratio", "num_heads")


@dataclass(frozen=True)
class VisionTransformer:
    """Every number of one preset."""

    name: str
    image_size: int  # height and width in pixels
    patch_size: int
    embeddings: tuple[int, ...]  # the width of tokens
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    head_size: int
    ratios: tuple[float, ...]  # feed-forward size by the width of tokens


def vit_space(preset: VisionTransformer, num_classes: int, input_channels: int) -> SearchSpace:
    """Build the space of a preset for images of `input_channels` and `num_classes`.

    Raises:
        InputError: less than one class or channel, a patch that does not divide the image, options
            that do not ascend.
    """
    check_image_settings(num_classes, input_channels)
    if not 1 <= preset.patch_size <= preset.image_size or preset.image_size % preset.patch_size:
        raise InputError(
            f"{preset.name}: expected a patch that divides the image of {preset.image_size} px, "
            f"got {preset.patch_size} px"
        )
    dimensions = [Dimension("depth", preset.depths), Dimension("embedding", preset.embeddings)]
    for b in range(1, max(preset.depths) + 1):
        deep_enough = frozenset(i for i, depth in enumerate(preset.depths) if depth >= b)
        when = ("depth", deep_enough) if len(deep_enough) < len(preset.depths) else None
        dimensions.append(Dimension(f"block{b}.heads", preset.heads, when))
        dimensions.append(Dimension(f"block{b}.ratio", preset.ratios, when))
    return SearchSpace(
        f"{preset.name}@1",
        dimensions,
        _slots(preset, num_classes, input_channels),
        _parse,
        {"num_classes": num_classes, "input_channels": input_channels},
    )


def _slots(preset: VisionTransformer, num_classes: int, input_channels: int) -> list[LayerSlot]:
    tokens = (preset.image_size // preset.patch_size) ** 2 + 1

    def patches(values: Values) -> dict[str, Any]:
        return {
            "in_channels": input_channels,
            "height": preset.image_size,
            "width": preset.image_size,
            "patch_size": preset.patch_size,
            "hidden_size": values["embedding"],
        }

    def classifier(values: Values) -> dict[str, Any]:
        return {
            "tokens": tokens,
            "hidden_size": values["embedding"],
            "norm": "layer",
            "pooler": "none",
            "num_classes": num_classes,
        }

    blocks = [_block_slot(preset, tokens, b) for b in range(1, max(preset.depths) + 1)]
    return [
        LayerSlot("patch_embedding", "patch_embedding", ("embedding",), patches),
        *blocks,
        LayerSlot("classifier", "token_classifier", ("embedding",), classifier),
    ]


def _block_slot(preset: VisionTransformer, tokens: int, b: int) -> LayerSlot:
    heads, ratio = f"block{b}.heads", f"block{b}.ratio"
    is_fixed = b <= min(preset.depths)

    def fields(values: Values) -> dict[str, Any]:
        return {
            "tokens": tokens,
            "hidden_size": values["embedding"],
            "heads": values[heads],
            "head_size": preset.head_size,
            "feed_forward_size": np.rint(values["embedding"] * values[ratio]).astype(np.int64),
            "order": "pre",
            "norm": "layer",
            "activation": "gelu",
        }

    return LayerSlot(
        name=f"block{b}",
        kind="transformer_block",
        depends_on=("embedding", heads, ratio)
        if is_fixed
        else ("depth", "embedding", heads, ratio),
        fields=fields,
        present=None if is_fixed else lambda values: values["depth"] >= b,
    )


def _parse(text: str) -> dict[str, Value]:
    """Read values by dimension name, or AutoFormer's form: {"depth": 12, "embed_dim": 192,
    "mlp_ratio": [...], "num_heads": [...]}, one entry for every block.
    """
    data: dict[str, Any] = json.loads(text)
    if not isinstance(data, dict) or not set(data) & {"mlp_ratio", "num_heads", "embed_dim"}:
        return data
    if set(data) != set(PUBLISHED_KEYS):
        raise InputError(f"expected keys {', '.join(PUBLISHED_KEYS)}, got {', '.join(data)}")
    depth = data["depth"]
    if not len(data["mlp_ratio"]) == len(data["num_heads"]) == depth:
        raise InputError(f"expected {depth} entries in mlp_ratio and num_heads, one for each block")
    values: dict[str, Value] = {"depth": depth, "embedding": data["embed_dim"]}
    for b, (ratio, heads) in enumerate(zip(data["mlp_ratio"], data["num_heads"], strict=True), 1):
        values |= {f"block{b}.ratio": ratio, f"block{b}.heads": heads}
    return values


DIGITS = VisionTransformer(
    name="vit-digits",
    image_size=8,
    patch_size=2,
    embeddings=(16, 24, 32),
    depths=(1, 2, 3),
    heads=(1, 2, 3),
    head_size=8,
    ratios=(1.0, 1.5, 2.0),
)

CIFAR = VisionTransformer(
    name="vit-cifar",
    image_size=32,
    patch_size=4,
    embeddings=(64, 80, 96),
    depths=(2, 3, 4, 5),
    heads=(2, 3, 4),
    head_size=16,
    ratios=(1.5, 2.0, 3.0),
)

TINY = VisionTransformer(
    name="vit-tiny",
    image_size=224,
    patch_size=16,
    embeddings=(192, 216, 240),
    depths=(12, 13, 14),
    heads=(3, 4),
    head_size=64,
    ratios=(3.0, 3.5, 4.0),
)

SMALL = VisionTransformer(
    name="vit-small",
    image_size=224,
    patch_size=16,
    embeddings=(320, 384, 448),
    depths=(12, 13, 14),
    heads=(5, 6, 7),
    head_size=64,
    ratios=(3.0, 3.5, 4.0),
)

BASE = VisionTransformer(
    name="vit-base",
    image_size=224,
    patch_size=16,
    embeddings=(528, 576, 624),
    depths=(14, 15, 16),
    heads=(8, 9, 10),
    head_size=64,
    ratios=(3.0, 3.5, 4.0),
)


def vit_digits(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """Return the tiny space for 8-pixel grey images: 17 tokens, 1-3 blocks."""
    return vit_space(DIGITS, num_classes, input_channels)


def vit_cifar(num_classes: int = 10, input_channels: int = 3) -> SearchSpace:
    """Return the space for 32-pixel images: 65 tokens, 2-5 blocks; trains on a CPU in minutes."""
    return vit_space(CIFAR, num_classes, input_channels)


def vit_tiny(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """Return AutoFormer's tiny space, with the ratio 3 that its released network has; DeiT-tiny is
    one of it.
    """
    return vit_space(TINY, num_classes, input_channels)


def vit_small(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """Return AutoFormer's small space; DeiT-small is one of it."""
    return vit_space(SMALL, num_classes, input_channels)


def vit_base(num_classes: int = 1000, input_channels: int = 3) -> SearchSpace:
    """Return AutoFormer's base space (DeiT-base, 768 wide, is larger)."""
    return vit_space(BASE, num_classes, input_channels)

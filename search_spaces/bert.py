"""Text encoders of BERT's form (arXiv:1810.04805): layers, hidden size, heads and feed-forward
ratio elastic, one value of each for all layers, as in AutoDistil (arXiv:2201.12507).

AutoDistil's sources disagree about the width of queries, keys and values. Here it is that of its
training code: heads of a fixed size, 64 in its spaces, whatever the hidden size; so fewer heads are
the first ones, and BERT's own heads are among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.errors import InputError
from search_spaces.layer_slot import LayerSlot
from search_spaces.space import Dimension, SearchSpace

Values = Mapping[str, npt.NDArray[Any]]
TOKEN_TYPES = 2  # sentences A and B; single texts are all A
UNCASED = 30522  # words of BERT's uncased vocabulary


@dataclass(frozen=True)
class Bert:
    """Every number of one preset."""

    name: str
    layers: tuple[int, ...]
    hidden_sizes: tuple[int, ...]
    ratios: tuple[float, ...]  # feed-forward size by hidden size
    heads: tuple[int, ...]
    head_size: int = 64
    positions: int = 512  # the longest text


def bert_space(preset: Bert, num_classes: int, vocabulary: int, length: int) -> SearchSpace:
    """Build the space of a preset; its networks read `ids` and `mask`, `b x length` int64 each.

    A mask is 1 for tokens and 0 for what fills the text up, which then has no influence.

    Args:
        preset: all other numbers.
        num_classes: logits.
        vocabulary: ids are below it.
        length: tokens of a text.

    Raises:
        InputError: a setting below one, texts longer than the positions, options that do not
            ascend.
    """
    settings = {"num_classes": num_classes, "vocabulary": vocabulary, "length": length}
    if min(settings.values()) < 1:
        raise InputError(f"{preset.name}: expected settings of at least 1, got {settings}")
    if length > preset.positions:
        raise InputError(
            f"{preset.name} has {preset.positions} positions, got texts of length {length}; "
            f"cut them to {preset.positions}"
        )
    return SearchSpace(
        f"{preset.name}@1",
        [
            Dimension("layers", preset.layers),
            Dimension("hidden", preset.hidden_sizes),
            Dimension("ratio", preset.ratios),
            Dimension("heads", preset.heads),
        ],
        _slots(preset, num_classes, vocabulary, length),
        settings=settings,
        modality="tokens",
        inputs=("ids", "mask"),
    )


def _slots(preset: Bert, num_classes: int, vocabulary: int, length: int) -> list[LayerSlot]:
    def tokens(values: Values) -> dict[str, Any]:
        return {"tokens": length, "hidden_size": values["hidden"]}

    def embedding(values: Values) -> dict[str, Any]:
        tables = {"vocabulary": vocabulary, "positions": preset.positions}
        return tokens(values) | tables | {"token_types": TOKEN_TYPES, "norm": "layer"}

    def layer(values: Values) -> dict[str, Any]:
        return tokens(values) | {
            "heads": values["heads"],
            "head_size": preset.head_size,
            "feed_forward_size": np.rint(values["hidden"] * values["ratio"]).astype(np.int64),
            "order": "post",
            "norm": "layer",
            "activation": "gelu",
        }

    def classifier(values: Values) -> dict[str, Any]:
        return tokens(values) | {"norm": "none", "pooler": "tanh", "num_classes": num_classes}

    slots = [
        LayerSlot("embedding", "text_embedding", ("hidden",), embedding, reads=("ids",)),
        LayerSlot(
            "attention_mask", "attention_mask", (), lambda _: {"tokens": length}, reads=("mask",)
        ),
    ]
    before = "embedding"
    for i in range(1, max(preset.layers) + 1):
        slots.append(_layer_slot(i, before, layer))
        before = f"layer{i}"
    return [
        *slots,
        LayerSlot("classifier", "token_classifier", ("hidden",), classifier, reads=(before,)),
    ]


def _layer_slot(i: int, before: str, fields: Callable[[Values], Mapping[str, Any]]) -> LayerSlot:
    return LayerSlot(
        name=f"layer{i}",
        kind="masked_transformer_block",
        depends_on=("layers", "hidden", "ratio", "heads"),
        fields=fields,
        present=lambda values: values["layers"] >= i,
        reads=(before, "attention_mask"),
    )


MINI = Bert(
    name="bert-mini",
    layers=(1, 2, 3),
    hidden_sizes=(48, 64, 80, 96),
    ratios=(1.5, 2.0, 3.0, 4.0),
    heads=(2, 3, 4),
    head_size=16,
)

TINY = Bert(
    name="bert-tiny",
    layers=(4, 5, 6, 7),
    hidden_sizes=(128, 160, 192, 224),
    ratios=(2.0, 2.5, 3.0, 3.5),
    heads=(7, 8, 9, 10),
)

SMALL = Bert(
    name="bert-small",
    layers=(9, 10, 11, 12),
    hidden_sizes=(256, 288, 320, 352),
    ratios=(2.5, 3.0, 3.5, 4.0),
    heads=(7, 8, 9, 10),
)

BASE = Bert(
    name="bert-base",
    layers=(9, 10, 11, 12),
    hidden_sizes=(544, 576, 608, 640),
    ratios=(2.5, 3.0, 3.5, 4.0),
    heads=(9, 10, 11, 12),
)

BASE_UNCASED = Bert(
    name="bert-base-uncased",
    layers=(12,),
    hidden_sizes=(768,),
    ratios=(4.0,),
    heads=(12,),
)
"""BERT-base itself: a space of one network, for `bert_space`."""


def bert_mini(num_classes: int = 2, vocabulary: int = UNCASED, length: int = 128) -> SearchSpace:
    """Return the small space for short texts: 1-3 layers of 48-96; trains on a CPU in minutes."""
    return bert_space(MINI, num_classes, vocabulary, length)


def bert_tiny(num_classes: int = 2, vocabulary: int = UNCASED, length: int = 128) -> SearchSpace:
    """Return AutoDistil's tiny space: 4-7 layers of 128-224."""
    return bert_space(TINY, num_classes, vocabulary, length)


def bert_small(num_classes: int = 2, vocabulary: int = UNCASED, length: int = 128) -> SearchSpace:
    """Return AutoDistil's small space: 9-12 layers of 256-352."""
    return bert_space(SMALL, num_classes, vocabulary, length)


def bert_base(num_classes: int = 2, vocabulary: int = UNCASED, length: int = 128) -> SearchSpace:
    """Return AutoDistil's base space: 9-12 layers of 544-640 (BERT-base, 768, is larger)."""
    return bert_space(BASE, num_classes, vocabulary, length)

"""Channels that belong to one layer alone, in whatever order."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor


@dataclass(frozen=True)
class InnerChannels:
    """Channels between two weights of a layer: put in another order, in all weights that hold them,
    they leave the layer the same function.

    Args:
        held_by: (pattern of weights' names, dimension that runs over the channels), of all weights
            that hold them.
        read_by: the weight that reads them, along dimension 1.
        written_by: the weight that makes them. A layer that has `read_by` without it takes its
            inputs in their place, so they are no longer its own.
        block: the field that says how many numbers move as one (the features of a head); without,
            each by itself.
        tiles: the field that says how often they come, one set after the other, all in one order
            (the parts of a Res2 block, which are added up); without, once.
    """

    held_by: tuple[tuple[str, int], ...]
    read_by: str
    written_by: str
    block: str | None = None
    tiles: str | None = None

    def places(self, names: Mapping[str, object]) -> list[tuple[str, int]]:
        """Return the weights of these names that hold the channels, and along which dimension."""
        return [
            (name, dimension)
            for name in names
            for pattern, dimension in self.held_by
            if fnmatchcase(name, pattern)
        ]


def positions(order: Tensor, size: int, block: int) -> Tensor:
    """Return an order of n channels as one of `size` numbers: blocks stay whole, and every set of n
    blocks takes the same order.
    """
    sets = torch.arange(size, device=order.device).view(-1, len(order), block)
    return sets[:, order].flatten()


_SQUEEZED = InnerChannels(
    (
        ("squeeze_excite.reduce.*", 0),
        ("squeeze_excite.expand.weight", 1),
    ),
    read_by="squeeze_excite.expand.weight",
    written_by="squeeze_excite.reduce.weight",
)
_FEED_FORWARD = InnerChannels(
    (("expand.*", 0), ("contract.weight", 1)),
    read_by="contract.weight",
    written_by="expand.weight",
)
_HEADS = InnerChannels(
    (
        ("attention.query.*", 0),
        ("attention.key.*", 0),
        ("attention.value.*", 0),
        ("attention.output.weight", 1),
    ),
    read_by="attention.output.weight",
    written_by="attention.value.weight",
    block="head_size",
)

INNER_CHANNELS: dict[str, tuple[InnerChannels, ...]] = {
    "inverted_residual": (
        InnerChannels(
            (
                ("expand.*", 0),
                ("depthwise.*", 0),
                ("depthwise_norm.*", 0),
                ("squeeze_excite.reduce.weight", 1),
                ("squeeze_excite.expand.*", 0),
                ("project.weight", 1),
            ),
            read_by="project.weight",
            written_by="expand.0.weight",
        ),
        _SQUEEZED,
    ),
    "bottleneck": (
        InnerChannels(
            (("reduce.*", 0), ("inner.0.weight", 1)),
            read_by="inner.0.weight",
            written_by="reduce.0.weight",
        ),
        InnerChannels(
            (("inner.*", 0), ("expand.0.weight", 1)),
            read_by="expand.0.weight",
            written_by="inner.0.weight",
        ),
    ),
    "basic_block": (
        InnerChannels(
            (("first.*", 0), ("first_norm.*", 0), ("second.weight", 1)),
            read_by="second.weight",
            written_by="first.weight",
        ),
    ),
    "classifier": (
        InnerChannels(
            (("hidden.*", 0), ("logits.weight", 1)),
            read_by="logits.weight",
            written_by="hidden.weight",
        ),
    ),
    "transformer_block": (_FEED_FORWARD, _HEADS),
    "masked_transformer_block": (_FEED_FORWARD, _HEADS),
    "res2_block": (
        InnerChannels(
            (
                ("first.*", 0),
                ("convs.*", 0),
                ("convs.*.0.weight", 1),
                ("last.0.weight", 1),
            ),
            read_by="last.0.weight",
            written_by="first.0.weight",
            tiles="scale",
        ),
        _SQUEEZED,
    ),
    "attentive_statistics_pooling": (
        InnerChannels(
            (("attention.0.weight", 0), ("attention.2.weight", 1)),
            read_by="attention.2.weight",
            written_by="attention.0.weight",
        ),
    ),
}
"""Kind -> all channels inside it that have a size of their own; other kinds have none. (Channels
inside the operations of cells have the size of what goes in and out.)
"""

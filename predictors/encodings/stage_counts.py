"""Compact counts for spaces of stages and blocks: how much of what, not where in the stage."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from predictors.encodings.encoding import Encoding, Matrix
from search_spaces import Dimension, Population, SearchSpace

_BLOCK = re.compile(r"(.*[a-z_]\d+)(\.[^.]+)?")  # "stage2.block1" of "stage2.block1.kernel"
_NUMBER = re.compile(r"\d+$")


def stage_counts(space: SearchSpace) -> Encoding:
    """Return the encoding of what repeats in blocks as sums, and of all else as values.

    Dimensions that are named alike but for the number of their block ("stage2.block1.kernel",
    "stage2.block2.kernel"; "layer1", "layer2") are one group, whose column is the sum of the active
    ones' values: that of kernels rises with kernels and with depth. Any other dimension is its
    value, 0 where it is inactive. Options that are words are counted, a column each.
    """
    groups = _groups(space.dimensions)

    def encode(population: Population) -> Matrix:
        active = space.active(population)
        columns = [np.zeros((len(population), 0))]
        for members in groups:
            options = space.dimensions[members[0]].options
            chosen = np.where(active[:, members], population[:, members], -1)
            counts = np.stack([(chosen == i).sum(axis=1) for i in range(len(options))], axis=1)
            columns.append(counts @ _values(options))
        return np.hstack(columns)

    return encode


def _values(options: Sequence[int | float | str]) -> npt.NDArray[np.float64]:
    """Return what the options count as, `options x columns`."""
    if any(isinstance(option, str) for option in options):
        return np.eye(len(options))
    return np.array(options, dtype=np.float64)[:, None]


def _groups(dimensions: Sequence[Dimension]) -> list[list[int]]:
    """Return the positions of dimensions that count together."""
    owners = [found[1] if (found := _BLOCK.fullmatch(d.name)) else "" for d in dimensions]
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (owner, dimension) in enumerate(zip(owners, dimensions, strict=True)):
        leaf = dimension.name.removeprefix(owner)
        # what has blocks of its own, as "stage2", is none
        is_block = owner and not any(other.startswith(f"{owner}.") for other in owners)
        place = _NUMBER.sub("", owner) if is_block else owner
        groups.setdefault((place, leaf, dimension.options), []).append(i)
    return list(groups.values())

"""What a Gaussian process sees of architectures: groups of columns that fit the space."""

from collections.abc import Sequence

import numpy as np

from predictors.encodings import ENCODINGS, Encoding, Matrix, fitting_encodings
from predictors.gaussian.kernel import Group, Shape
from search_spaces import Population, SearchSpace

SHAPES: dict[str, tuple[Shape, ...]] = {
    "one-hot": ("linear", "gaussian"),
    "paths": ("linear", "tanimoto"),
    "stage-counts": ("linear", "matern"),
    "costs": ("linear",),
}
"""How rows are compared in every encoding; costs order architectures from the first few on."""
SHAPES_OF_FEATURES: tuple[Shape, ...] = ("linear", "matern")
STANDARDISED = ("stage-counts", "costs")  # their columns are in different units


class ArchitectureColumns:
    """Columns of all encodings that fit a space, and the groups they form.

    Args:
        space: what populations are of.
        reference: architectures whose columns have mean 0 and variance 1, `n x d`.
        features: further columns, n x k.
    """

    def __init__(
        self, space: SearchSpace, reference: Population, features: Encoding | None = None
    ) -> None:
        names = fitting_encodings(space)
        self._encodings = [ENCODINGS[name](space) for name in names]
        shapes = [SHAPES[name] for name in names]
        is_standardised = [name in STANDARDISED for name in names]
        if features is not None:
            self._encodings.append(features)
            shapes.append(SHAPES_OF_FEATURES)
            is_standardised.append(True)
        parts = [encoding(reference) for encoding in self._encodings]
        self._centre = np.concatenate(
            [p.mean(axis=0) * z for p, z in zip(parts, is_standardised, strict=True)]
        )
        spreads = [
            np.where(z & (p.std(axis=0) > 1e-9), p.std(axis=0), 1.0)
            for p, z in zip(parts, is_standardised, strict=True)
        ]
        self._spread = np.concatenate(spreads)
        self.groups = _groups([part.shape[1] for part in parts], shapes)

    def __call__(self, population: Population) -> Matrix:
        """Return the columns of `n x d` architectures, `n x f`."""
        parts = [encoding(population) for encoding in self._encodings]
        return np.asarray((np.hstack(parts) - self._centre) / self._spread)


def _groups(widths: Sequence[int], shapes: Sequence[tuple[Shape, ...]]) -> tuple[Group, ...]:
    ends = np.cumsum(widths).tolist()
    return tuple(
        Group(end - width, end, shape)
        for end, width, part in zip(ends, widths, shapes, strict=True)
        for shape in part
        if width
    )

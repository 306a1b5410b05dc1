"""What a Gaussian process sees of architectures: groups of columns that fit the space."""

from collections.abc import Sequence

import numpy as np

from predictors.encodings import ENCODINGS, Encoding, Matrix, fitting_encodings
from predictors.gaussian.kernel import Group, Shape
from search_spaces import Population, SearchSpace

SHAPES: dict[str, tuple[Shape, ...]] = {
    "one-hot": ("linear", "exponential"),
    "paths": ("linear", "tanimoto"),
    "stage-counts": ("linear", "matern"),
    "costs": ("linear",),
}
"""How rows are compared in every encoding; costs order architectures from the first few on."""
SHAPE_OF_FEATURES: Shape = "matern"
STANDARDISED = ("stage-counts", "costs")  # their columns are in different units
MOST_COMPONENTS = 3  # of further columns: scores are many, alike and noisy


class ArchitectureColumns:
    """Columns of all encodings that fit a space, and the groups they form.

    Args:
        space: what populations are of.
        reference: architectures whose columns have mean 0 and variance 1, `n x d`.
        features: further columns, n x k; their principal components stand for them.
    """

    def __init__(
        self, space: SearchSpace, reference: Population, features: Encoding | None = None
    ) -> None:
        names = fitting_encodings(space)
        self._encodings: list[Encoding] = []
        shapes = [SHAPES[name] for name in names]
        for name in names:
            encoding = ENCODINGS[name](space)
            standardise = name in STANDARDISED
            self._encodings.append(_standardised(encoding, reference) if standardise else encoding)
        if features is not None:
            components = _components(_standardised(features, reference), reference)
            self._encodings.append(_standardised(components, reference))
            shapes.append((SHAPE_OF_FEATURES,))
        widths = [encoding(reference[:1]).shape[1] for encoding in self._encodings]
        self.groups = _groups(widths, shapes)

    def __call__(self, population: Population) -> Matrix:
        """Return the columns of `n x d` architectures, `n x f`."""
        parts = [encoding(population) for encoding in self._encodings]
        return np.asfortranarray(np.hstack(parts))  # groups are blocks of columns


def _standardised(encoding: Encoding, reference: Population) -> Encoding:
    """Return columns that have mean 0 and variance 1 over a reference (0 where all are equal)."""
    columns = encoding(reference)
    centre, spread = columns.mean(axis=0), columns.std(axis=0)
    spread = np.where(spread > 1e-9 * np.maximum(1.0, np.abs(centre)), spread, np.inf)
    return lambda population: np.asarray((encoding(population) - centre) / spread)


def _components(encoding: Encoding, reference: Population) -> Encoding:
    """Return the greatest principal components over a reference."""
    axes = np.linalg.svd(encoding(reference), full_matrices=False)[2][:MOST_COMPONENTS].T
    return lambda population: np.asarray(encoding(population) @ axes)


def _groups(widths: Sequence[int], shapes: Sequence[tuple[Shape, ...]]) -> tuple[Group, ...]:
    ends = np.cumsum(widths).tolist()
    return tuple(
        Group(end - width, end, shape)
        for end, width, part in zip(ends, widths, shapes, strict=True)
        for shape in part
        if width
    )

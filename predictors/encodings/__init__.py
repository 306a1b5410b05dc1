"""Encodings: what a predictor sees of architectures, as columns of numbers. One a file."""

from collections.abc import Callable

from predictors.encodings.costs import costs
from predictors.encodings.encoding import Encoding, Matrix
from predictors.encodings.one_hot import one_hot
from predictors.encodings.paths import paths
from predictors.encodings.stage_counts import stage_counts
from search_spaces import SearchSpace

ENCODINGS: dict[str, Callable[[SearchSpace], Encoding]] = {
    "one-hot": one_hot,
    "paths": paths,
    "stage-counts": stage_counts,
    "costs": costs,
}
"""Name -> builder(space), which raises InputError where the encoding does not fit the space."""


def fitting_encodings(space: SearchSpace) -> tuple[str, ...]:
    """Return the names of encodings that tell something of a space: paths of cells or, without
    cells, counts of stages; costs where there are layers.
    """
    known = {"one-hot": True, "paths": bool(space.cells), "stage-counts": not space.cells}
    known["costs"] = bool(space.slots)
    return tuple(name for name, fits in known.items() if fits)


__all__ = ["ENCODINGS", "Encoding", "Matrix", "fitting_encodings"]

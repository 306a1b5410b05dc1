"""Encodings: what a predictor sees of architectures, as columns of numbers. One a file."""

from collections.abc import Callable

from predictors.encodings.encoding import Encoding, Matrix
from predictors.encodings.one_hot import one_hot
from search_spaces import SearchSpace

ENCODINGS: dict[str, Callable[[SearchSpace], Encoding]] = {
    "one-hot": one_hot,
}
"""Name -> builder(space)."""

__all__ = ["ENCODINGS", "Encoding", "Matrix"]

"""What accuracy predictors share: encodings side by side, a scale for targets, honest residuals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from predictors.accuracy.warp import Warp, fit_warp
from predictors.encodings import ENCODINGS, Encoding, Matrix, fitting_encodings
from predictors.predictor import Prediction, Vector
from search_spaces import InputError, Population, SearchSpace

CHUNK = 8192  # architectures at a time
LEAST_SUBNETS = 3
UNSCALED = ("genome", "one-hot", "paths")  # a rare option must not weigh more for being rare
Blocks = Mapping[str, Matrix]  # `n x f` by the name of the encoding
Guess = tuple[Vector, Vector]  # mean and standard deviation, each n


class Model(Protocol):
    """A fitted model on the targets' normal scale."""

    @property
    def held_out(self) -> Guess:
        """Guesses of the n fitted rows, each by a model that had not seen the row."""

    def predict(self, blocks: Blocks) -> Guess:
        """Guess m rows."""


Learner = Callable[[Blocks, Vector, int], Model]
"""Fits a model to encoded architectures and n targets of mean 0 and variance 1; takes a seed."""


@dataclass(frozen=True)
class _Fitted:
    centres: Mapping[str, Vector]
    scales: Mapping[str, Vector]
    warp: Warp
    model: Model
    held_out: Prediction


class LearnedAccuracy:
    """A predictor of accuracy (or error, or cross-entropy) that learns from encodings.

    Args:
        space: what populations are of.
        learn: the method.
        seed: of the method.
        features: further columns, `n x k`.
        encodings: names of those to use ("genome" for option indices); without, all that fit the
            space.

    Raises:
        InputError: an encoding that does not fit the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        learn: Learner,
        seed: int = 0,
        features: Encoding | None = None,
        encodings: tuple[str, ...] | None = None,
    ) -> None:
        names = fitting_encodings(space) if encodings is None else encodings
        known = ENCODINGS | {"genome": genome}
        self._encodings = {name: known[name](space) for name in names}
        if features is not None:
            self._encodings["features"] = features
        self._learn, self._seed = learn, seed
        self._fitted: _Fitted | None = None

    @property
    def encodings(self) -> tuple[str, ...]:
        """Names of what the predictor sees of architectures."""
        return tuple(self._encodings)

    @property
    def held_out(self) -> Prediction:
        """Guesses of the n fitted subnets, each by a model that had not seen the subnet."""
        return self._known().held_out

    def fit(self, population: Population, targets: Vector) -> None:
        """Learn from n measured values.

        Raises:
            InputError: fewer than 3 subnets, a value too many or missing, or one that is not
                finite.
        """
        measured = checked_targets(population, targets)
        raw = {name: encode(population) for name, encode in self._encodings.items()}
        centres = {name: _centre(name, block) for name, block in raw.items()}
        scales = {name: _scale(name, block) for name, block in raw.items()}
        warp = fit_warp(measured)
        blocks = {name: (block - centres[name]) / scales[name] for name, block in raw.items()}
        model = self._learn(blocks, warp.forward(measured), self._seed)
        mean, std = _in_unit(warp, model.held_out)
        held_out = Prediction(mean, std, (measured - mean) / std)
        self._fitted = _Fitted(centres, scales, warp, model, held_out)

    def predict(self, population: Population) -> Prediction:
        """Guess the fitted quantity: mean and spread, each n."""
        fitted = self._known()
        mean, std = np.empty(len(population)), np.empty(len(population))
        for start in range(0, len(population), CHUNK):
            rows = slice(start, start + CHUNK)
            blocks = {
                name: (encode(population[rows]) - fitted.centres[name]) / fitted.scales[name]
                for name, encode in self._encodings.items()
            }
            mean[rows], std[rows] = _in_unit(fitted.warp, fitted.model.predict(blocks))
        return Prediction(mean, std, fitted.held_out.residuals)

    def _known(self) -> _Fitted:
        if self._fitted is None:
            raise AssertionError("fit before predict")
        return self._fitted


def genome(space: SearchSpace) -> Encoding:
    """Return the encoding of canonical option indices as they are, `n x d`."""
    return lambda population: space.canonicalize(population).astype(np.float64)


def beside(blocks: Blocks) -> Matrix:
    """Return the columns of all encodings side by side, `n x f`."""
    return np.hstack(list(blocks.values()))


def checked_targets(population: Population, targets: Vector) -> Vector:
    """Return n measured values as an array of its own.

    Raises:
        InputError: fewer than 3 subnets, a value too many or missing, or one that is not finite.
    """
    measured = np.array(targets, dtype=np.float64)
    if (
        len(measured) < LEAST_SUBNETS
        or len(measured) != len(population)
        or not np.isfinite(measured).all()
    ):
        raise InputError(
            f"expected a finite value for each of {LEAST_SUBNETS} or more subnets, got "
            f"{len(measured)} values for {len(population)} subnets"
        )
    return measured


def _centre(name: str, block: Matrix) -> Vector:
    return np.zeros(block.shape[1]) if name in UNSCALED else block.mean(axis=0)


def _scale(name: str, block: Matrix) -> Vector:
    spread = np.ones(block.shape[1]) if name in UNSCALED else block.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)


def _in_unit(warp: Warp, guess: Guess) -> Guess:
    mean, std = guess
    return warp.back(mean), np.maximum(std, 1e-6) * warp.slope(mean)

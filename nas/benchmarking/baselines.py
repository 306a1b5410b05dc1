"""What a latency predictor must beat: a constant, and lines through one number."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from predictors.latency.measured import checked_latencies, positive
from predictors.latency.transfer import KnownLatency, known_latencies
from predictors.predictor import Prediction, Vector
from search_spaces import InputError, Population

LEAST_SUBNETS = 3


class ConstantLatency:
    """The median of what was measured."""

    def __init__(self) -> None:
        self._median, self._std = 0.0, 0.0
        self._residuals: Vector = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Take the median of n measured latencies (ms)."""
        measured = checked_latencies(population, targets, 1)
        self._median = float(np.median(measured))
        self._std = max(float(measured.std()), 1e-6 * self._median)
        self._residuals = (measured - self._median) / self._std

    def predict(self, population: Population) -> Prediction:
        """Guess the same for all."""
        n = len(population)
        return Prediction(np.full(n, self._median), np.full(n, self._std), self._residuals)


class BestLine:
    """A line (ms) through the one of k numbers that fits best with one subnet left out.

    With known targets' latencies: the line from the best known device; with MACs alone, a line.
    """

    def __init__(self, numbers: Callable[[Population], npt.NDArray[np.float64]]) -> None:
        self._numbers = numbers  # n x k
        self._column, self._line = 0, np.zeros(2)
        self._std = 1.0
        self._measured: Vector = np.ones(1)
        self._residuals: Vector = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Fit k lines to n measured latencies (ms) and keep the best.

        Raises:
            InputError: fewer than 3 latencies, or one that is not positive.
        """
        self._measured = checked_latencies(population, targets, LEAST_SUBNETS)
        lines = [_line(column, self._measured) for column in self._numbers(population).T]
        squares = [float(np.mean(errors**2)) for _, errors in lines]
        self._column = int(np.argmin(squares))
        self._line, errors = lines[self._column]
        self._std = max(squares[self._column] ** 0.5, 1e-9 * float(self._measured.mean()))
        self._residuals = errors / self._std

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms: mean and spread, each n."""
        x = self._numbers(population)[:, self._column]
        mean = positive(self._line[0] + self._line[1] * x, self._measured)
        return Prediction(mean, np.full(len(mean), self._std), self._residuals)


def best_known_line(known: Sequence[KnownLatency]) -> BestLine:
    """Return the line from the best known device.

    Raises:
        InputError: none is known.
    """
    if not known:
        raise InputError("expected a known target for best-known-line, got none")
    return BestLine(lambda population: known_latencies(known, population))


def _line(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """Return (constant, slope) and the leave-one-out errors; a constant where x does not vary."""
    columns = np.stack([np.ones_like(x), x / max(float(np.abs(x).max()), 1e-300)], axis=1)
    if np.ptp(columns[:, 1]) < 1e-9:
        columns[:, 1] = 0.0
    inverse = np.linalg.pinv(columns)
    solution = inverse @ y
    leverage = np.minimum((columns * inverse.T).sum(axis=1), 1 - 1e-6)
    line = solution / np.array([1.0, max(float(np.abs(x).max()), 1e-300)])
    return line, (y - columns @ solution) / (1 - leverage)

"""Latency of whole subnets as the sum of their layers' latencies."""

import numpy as np

from predictors.latency.measured import checked_latencies
from predictors.predictor import Prediction, Vector
from search_spaces import Population, SearchSpace

UNKNOWN_RELATIVE_STD = 0.1  # where no subnet tells how far sums are off


class AdditiveTable:
    """The sum over a layer table, without correction.

    Counts the runtime's fixed cost once per layer and misses what fusion saves, which
    `CalibratedTable` mends; it needs no measured subnet, they only tell its error. Without any its
    spread is a guess.

    Args:
        space: what populations are of.
        layer_latency_ms: 1 + specs, as in `LayerTable.latency_ms`.
    """

    def __init__(self, space: SearchSpace, layer_latency_ms: Vector) -> None:
        self._space = space
        self._layer_latency_ms = layer_latency_ms
        self._relative_std = UNKNOWN_RELATIVE_STD
        self._residuals: Vector = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Take spread and residuals from n measured latencies (ms); the sum stays as it is."""
        latencies = checked_latencies(population, targets)
        self._relative_std, self._residuals = UNKNOWN_RELATIVE_STD, np.zeros(0)
        if len(latencies):
            sums = self._space.layers.sum(population, self._layer_latency_ms)
            self._relative_std, self._residuals = relative_spread(latencies, sums)

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms: mean and spread, each n."""
        mean = self._space.layers.sum(population, self._layer_latency_ms)
        return Prediction(mean, mean * self._relative_std, self._residuals)


def relative_spread(measured: Vector, guess: Vector) -> tuple[float, Vector]:
    """Return the root mean square of the relative errors, and the errors in units of it."""
    relative = (measured - guess) / np.abs(guess)
    std = max(float(np.sqrt(np.mean(relative**2))), 1e-6)
    return std, relative / std

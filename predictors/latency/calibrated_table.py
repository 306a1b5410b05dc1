"""Latency of whole subnets from a layer table, corrected by a few measured subnets."""

import numpy as np

from predictors.latency.additive_table import UNKNOWN_RELATIVE_STD, relative_spread
from predictors.latency.measured import checked_latencies
from predictors.predictor import Prediction, Vector
from search_spaces import Population, SearchSpace

LEAST_CORRECTED = 5  # subnets
RIDGE = 1e-4  # on standardised columns: only breaks ties between columns that say the same


class CalibratedTable:
    """latency = a * table sum + b * number of layers + c * MACs + d, fitted on whole subnets.

    The sum over layers alone counts the runtime's fixed cost once per layer and misses what fusion
    saves; the correction has four parameters, so a dozen subnets fit it. Least squares on relative
    errors.

    Args:
        space: what populations are of.
        layer_latency_ms: 1 + specs, as in `LayerTable.latency_ms`.
    """

    def __init__(self, space: SearchSpace, layer_latency_ms: Vector) -> None:
        self._space = space
        self._layer_latency_ms = layer_latency_ms
        self._layer_count = np.array([0.0] + [1.0] * (len(layer_latency_ms) - 1))
        self._coefficients = np.zeros(4)
        self._relative_std = 0.0
        self._residuals = np.zeros(0)
        self._floor_ms = 1e-9

    def fit(self, population: Population, targets: Vector) -> None:
        """Fit the correction to n measured latencies (ms); fewer than 5 only scale the sum.

        The spread and the residuals come from leaving one subnet out at a time.
        """
        targets = checked_latencies(population, targets)
        columns = self._columns(population)
        self._floor_ms = float(targets.min()) / 2 if len(targets) else 1e-9
        self._coefficients = _correction(columns, targets)
        self._relative_std, self._residuals = UNKNOWN_RELATIVE_STD, np.zeros(0)
        if len(targets) < 2:
            return
        left_out = np.empty(len(targets))
        for i in range(len(targets)):
            keep = np.arange(len(targets)) != i
            left_out[i] = columns[i] @ _correction(columns[keep], targets[keep])
        self._relative_std, self._residuals = relative_spread(targets, left_out)

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms: mean and spread, each n."""
        # a line can run below zero where nothing was measured; no subnet is that much faster
        mean = np.maximum(self._columns(population) @ self._coefficients, self._floor_ms)
        return Prediction(mean, mean * self._relative_std, self._residuals)

    def _columns(self, population: Population) -> Vector:
        """Table sum, number of layers, MACs in millions, one: n x 4."""
        grid = self._space.layers
        return np.stack(
            [
                grid.sum(population, self._layer_latency_ms),
                grid.sum(population, self._layer_count),
                grid.sum(population, grid.spec_costs[:, 0]) / 1e6,
                np.ones(len(population)),
            ],
            axis=1,
        )


def _correction(columns: Vector, targets: Vector) -> Vector:
    """Return the factors of the columns; from fewer than 5 subnets, the sum's alone."""
    if len(targets) >= LEAST_CORRECTED:
        return _relative_least_squares(columns, targets)
    scale = np.median(targets / columns[:, 0]) if len(targets) else 1.0
    return np.array([float(scale), 0.0, 0.0, 0.0])


def _relative_least_squares(columns: Vector, targets: Vector) -> Vector:
    """Minimise the squares of (columns @ x - targets) / targets, slightly regularised."""
    scale = np.abs(columns).max(axis=0)
    scale[scale == 0] = 1.0
    weighted = columns / scale / targets[:, None]
    penalty = np.sqrt(RIDGE) * np.eye(weighted.shape[1]) * np.abs(weighted).mean()
    stacked = np.vstack([weighted, penalty])
    wanted = np.concatenate([np.ones(len(targets)), np.zeros(weighted.shape[1])])
    solution: Vector = np.linalg.lstsq(stacked, wanted, rcond=None)[0] / scale
    return solution

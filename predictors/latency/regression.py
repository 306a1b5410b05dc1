"""Latency of whole subnets from their options and costs, without a layer table."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from predictors.latency.measured import checked_latencies, positive
from predictors.predictor import Prediction, Vector
from search_spaces import Population, SearchSpace

Matrix = npt.NDArray[np.float64]

LEAST_SUBNETS = 3
MOST_FITTED = 2000  # of more measured subnets, a random part: the kernel matrix is n x n
MOST_COMPARED = 400  # the same where kernels are compared
MOST_WITH_SPREAD = 1000  # of more, the spread is the noise alone: the guess is as good as certain
CHUNK = 2048
CONSTANT_VARIANCE = 1.0  # latencies are centred: their mean is known to one of their spread
NOISES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # variance, in units of the kernel's
Weights = tuple[float, float, float, float]

KERNELS: tuple[Weights, ...] = (
    (1.0, 0.1, 0.1, 0.0),
    (1.0, 1.0, 0.1, 0.0),
    (1.0, 1.0, 1.0, 0.0),
    (1.0, 1.0, 1.0, 1.0),
    (0.3, 1.0, 1.0, 4.0),
)
KERNELS_WITHOUT_COSTS: tuple[Weights, ...] = (
    (0.0, 1.0, 0.01, 0.0),
    (0.0, 1.0, 0.1, 0.0),
    (0.0, 1.0, 1.0, 0.0),
    (0.0, 0.1, 1.0, 0.0),
    (0.0, 1.0, 1.0, 1.0),
    (0.0, 1.0, 1.0, 4.0),
)
"""Prior variances of lines through costs and counts, of options, and of pairs of options."""


@dataclass(frozen=True)
class _Features:
    """What n subnets are made of; rows of options and counts have lengths of about 1."""

    options: Matrix  # n x f, one-hot
    counts: Matrix  # n x c: how often an option stands in the dimensions that share it
    costs: Matrix  # n x 3, standardised, or n x 0

    def rows(self, which: npt.NDArray[np.intp] | slice) -> "_Features":
        return _Features(self.options[which], self.counts[which], self.costs[which])


@dataclass(frozen=True)
class _Model:
    """A choice of kernel, noise and scale, and how likely it makes the measured latencies."""

    logarithmic: bool
    kernel: Weights
    noise: float
    log_likelihood: float


class LatencyRegression:
    """A Gaussian process on options, their counts and pairs and, where there are layers, costs.

    A count says how often an option stands in all dimensions that have the same ones: with few
    samples, a 3x3 convolution costs about the same on every edge.

    Its kernel is that of Bayesian linear regression on these features (Rasmussen and Williams,
    2006, chapter 2), so it has as few parameters as samples. Which features count how much, the
    noise, and whether latencies add up in milliseconds or in logarithms, are chosen by marginal
    likelihood. Residuals are leave-one-out ones in closed form (ibid., eq. 5.12).

    Args:
        space: what populations are of.
        seed: of the choice of rows, where more than `most_fitted` subnets were measured.
        most_fitted: rows; time grows with their cube (2,000: one second).
    """

    def __init__(self, space: SearchSpace, seed: int = 0, most_fitted: int = MOST_FITTED) -> None:
        self._space, self._seed, self._most_fitted = space, seed, most_fitted
        self._cost_centre, self._cost_scale = np.zeros(3), np.ones(3)
        self._counted = _counted(space)
        self._residuals: Vector = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Fit to n measured latencies (ms).

        Raises:
            InputError: fewer than 3, another number than subnets, or one that is not positive.
        """
        measured = checked_latencies(population, targets, LEAST_SUBNETS)
        rng = np.random.default_rng(self._seed)
        if len(measured) > self._most_fitted:
            rows = rng.choice(len(measured), self._most_fitted, replace=False)
            population, measured = population[rows], measured[rows]
        self._measured = measured
        if self._space.slots:
            costs = self._log_costs(population)
            self._cost_centre = costs.mean(axis=0)
            self._cost_scale = np.maximum(costs.std(axis=0), 1e-3)
        self._fitted = self._features(population)
        compared = rng.permutation(len(measured))[:MOST_COMPARED]
        self._model = self._most_likely(self._fitted.rows(compared), measured[compared])
        self._solve()

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms: mean and spread (of a measurement), each n."""
        mean, variance = np.empty(len(population)), np.empty(len(population))
        for start in range(0, len(population), CHUNK):
            rows = slice(start, start + CHUNK)
            features = self._features(population[rows])
            cross = self._kernel(features, self._fitted)
            mean[rows] = cross @ self._weights
            variance[rows] = self._variance(features, cross)
        mean = mean * self._scale + self._centre
        std = np.sqrt(variance) * self._scale
        if self._model.logarithmic:
            mean = np.exp(np.clip(mean, -50, 50))
            return Prediction(mean, mean * std, self._residuals)
        return Prediction(positive(mean, self._measured), std, self._residuals)

    def _most_likely(self, features: _Features, measured: Vector) -> _Model:
        with_costs = KERNELS if self._space.slots else ()
        kernels = (*with_costs, *KERNELS_WITHOUT_COSTS)
        models: list[_Model] = []
        for kernel in kernels:
            values, vectors = np.linalg.eigh(_kernel(kernel, features, features))
            for logarithmic in (False, True):
                y, _, scale = _standardised(measured, logarithmic)
                rotated = (vectors.T @ y) ** 2
                # densities of different quantities compare as densities of milliseconds
                jacobian = len(y) * np.log(scale) + logarithmic * np.log(measured).sum()
                for noise in NOISES:
                    eigenvalues = np.maximum(values, 0.0) + noise
                    square = max(float((rotated / eigenvalues).sum()), 1e-300) / len(y)
                    fit = len(y) * np.log(square) + np.log(eigenvalues).sum()
                    models.append(_Model(logarithmic, kernel, noise, -0.5 * fit - jacobian))
        return max(models, key=lambda model: model.log_likelihood)

    def _solve(self) -> None:
        """Fit the chosen model to all rows."""
        y, self._centre, self._scale = _standardised(self._measured, self._model.logarithmic)
        covariance = self._kernel(self._fitted, self._fitted)
        covariance[np.diag_indices(len(y))] += self._model.noise
        self._cholesky = cho_factor(covariance, lower=True)
        self._weights: Vector = cho_solve(self._cholesky, y)
        self._signal = max(float(y @ self._weights), 1e-12) / len(y)
        diagonal = np.diag(cho_solve(self._cholesky, np.eye(len(y))))
        error = self._weights / diagonal
        left_out_std = np.sqrt(self._signal / diagonal)
        if not self._model.logarithmic:
            self._residuals = error / left_out_std
            return
        # the spread of a guess in ms is its mean times that of its logarithm
        self._residuals = np.expm1(error * self._scale) / (left_out_std * self._scale)

    def _variance(self, features: _Features, cross: Matrix) -> Vector:
        noise = np.full(len(cross), self._model.noise)
        if len(self._measured) <= MOST_WITH_SPREAD:
            explained = (cross * cho_solve(self._cholesky, cross.T).T).sum(axis=1)
            noise += np.maximum(_variance(self._model.kernel, features) - explained, 0.0)
        return np.asarray(noise * self._signal, dtype=np.float64)

    def _kernel(self, first: _Features, second: _Features) -> Matrix:
        return _kernel(self._model.kernel, first, second)

    def _features(self, population: Population) -> _Features:
        options = np.asarray(self._space.features(population), dtype=np.float64)
        costs = np.zeros((len(population), 0))
        if self._space.slots:
            costs = (self._log_costs(population) - self._cost_centre) / self._cost_scale
        d = self._space.num_dimensions
        return _Features(options / np.sqrt(d), options @ self._counted / d, costs)

    def _log_costs(self, population: Population) -> Matrix:
        costs = self._space.layers.costs(population)
        return np.log(np.stack([costs.macs, costs.num_params, costs.activation_bytes], axis=1))


def _standardised(measured: Vector, logarithmic: bool) -> tuple[Vector, float, float]:
    """Return the latencies, or their logarithms, standardised; centre and scale."""
    y = np.log(measured) if logarithmic else measured
    centre, scale = float(y.mean()), max(float(y.std()), 1e-6 * max(abs(float(y.mean())), 1.0))
    return (y - centre) / scale, centre, scale


def _counted(space: SearchSpace) -> Matrix:
    """Return the matrix that adds up one-hot options over dimensions with the same ones, f x c."""
    kinds = list(dict.fromkeys(dimension.options for dimension in space.dimensions))
    starts = np.cumsum([0, *[len(options) for options in kinds]])
    columns = [
        starts[kinds.index(dimension.options)] + option
        for dimension in space.dimensions
        for option in range(len(dimension.options))
    ]
    return np.eye(int(starts[-1]))[columns]


def _kernel(weights: Weights, first: _Features, second: _Features) -> Matrix:
    cost, count, option, pair = weights
    same = first.options @ second.options.T  # the share of dimensions that agree
    covariance = option * same + pair * same**2 + CONSTANT_VARIANCE
    covariance += count * (first.counts @ second.counts.T)
    if cost:
        covariance += cost * (first.costs @ second.costs.T)
    return np.asarray(covariance, dtype=np.float64)


def _variance(weights: Weights, features: _Features) -> Vector:
    """The diagonal of `_kernel(weights, features, features)`, n."""
    cost, count, option, pair = weights
    same = (features.options**2).sum(axis=1)
    variance = option * same + pair * same**2 + CONSTANT_VARIANCE
    variance += count * (features.counts**2).sum(axis=1)
    return np.asarray(variance + cost * (features.costs**2).sum(axis=1), dtype=np.float64)

"""Accuracy (or error, or cross-entropy) of subnets by a Gaussian process."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from predictors.encodings import Encoding
from predictors.predictor import Prediction, Vector
from search_spaces import InputError, Population, SearchSpace

CHUNK = 4096  # architectures at a time: keeps the kernel matrix small
OPTION_WEIGHT = 0.25  # another option counts as much as this many standard deviations of a log cost


class GaussianProcessAccuracy:
    """Matern 5/2 on log costs and one-hot options (Rasmussen and Williams, 2006).

    Costs order subnets well from few samples, options correct them as samples grow. Scale, length
    and noise are chosen by marginal likelihood.

    Args:
        space: what populations are of.
        seed: of the likelihood's restarts.
        features: further columns, n x k.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        self._space, self._more = space, features
        self._centre: Vector = np.zeros(3)
        self._scale: Vector = np.ones(3)
        kernel = ConstantKernel(1.0) * Matern(3.0, (0.1, 1e3), nu=2.5) + WhiteKernel(
            0.1, (1e-5, 1.0)
        )
        self._model = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed
        )
        self._residuals = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Learn from n measured values; the residuals come from leaving one out at a time.

        Raises:
            InputError: fewer than 3 subnets, a value too many or missing, or one that is not
                finite.
        """
        targets = np.asarray(targets, dtype=np.float64)
        if len(targets) < 3 or len(targets) != len(population) or not np.isfinite(targets).all():
            raise InputError(
                f"expected a finite value for each of 3 or more subnets, got {len(targets)} values "
                f"for {len(population)} subnets"
            )
        costs = self._log_costs(population)
        self._centre, self._scale = costs.mean(axis=0), np.maximum(costs.std(axis=0), 1e-9)
        with warnings.catch_warnings():  # a length scale at its bound is an answer, not a fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._features(population), targets)
        self._residuals = self._leave_one_out()

    def predict(self, population: Population) -> Prediction:
        """Guess the fitted quantity: mean and spread, each n."""
        mean, std = np.empty(len(population)), np.empty(len(population))
        for start in range(0, len(population), CHUNK):
            rows = slice(start, start + CHUNK)
            features = self._features(population[rows])
            mean[rows], std[rows] = self._model.predict(features, return_std=True)
        return Prediction(mean, np.maximum(std, 1e-12), self._residuals)

    def _log_costs(self, population: Population) -> Vector:
        costs = self._space.layers.costs(population)
        return np.log(np.stack([costs.macs, costs.num_params, costs.activation_bytes], axis=1))

    def _features(self, population: Population) -> Vector:
        costs = (self._log_costs(population) - self._centre) / self._scale
        return np.hstack([OPTION_WEIGHT * self._space.features(population), costs])

    def _leave_one_out(self) -> Vector:
        """Standardised leave-one-out residuals in closed form (Rasmussen and Williams, eq.
        5.12).
        """
        cholesky = self._model.L_
        inverse = np.linalg.inv(cholesky @ cholesky.T)
        alpha = self._model.alpha_.ravel()
        return np.asarray(alpha / np.sqrt(np.diag(inverse)), dtype=np.float64)

"""Resident memory and energy of whole subnets from a few measured ones."""

import numpy as np

from hardware_profiles.profile import Profile
from predictors.predictor import Prediction, Vector
from search_spaces import Population, SearchSpace

LEAST_SUBNETS = 6


class LinearInCosts:
    """A measured quantity = a * one analytic cost + b * another + c.

    Three parameters, by least squares on relative errors; spread and residuals come from leaving
    one subnet out at a time.

    Args:
        costs: names of the two analytic costs (of `search_spaces.layer_grid.Costs`).
    """

    def __init__(self, space: SearchSpace, costs: tuple[str, str]) -> None:
        self._space, self._costs = space, costs
        self._coefficients: Vector = np.zeros(3)
        self._relative_std = 0.0
        self._residuals: Vector = np.zeros(0)
        self._least = 0.0

    def fit(self, population: Population, targets: Vector) -> None:
        """Learn from n measured subnets."""
        columns = self._columns(population) / targets[:, None]
        self._least = float(targets.min()) / 2
        self._coefficients = _solve(columns)
        left_out: Vector = np.empty(len(targets))
        for i in range(len(targets)):
            keep = np.arange(len(targets)) != i
            left_out[i] = columns[i] @ _solve(columns[keep])  # predicted / measured
        relative: Vector = 1 / np.maximum(left_out, 0.01) - 1
        self._relative_std = max(float(np.sqrt(np.mean(relative**2))), 1e-6)
        self._residuals = np.asarray(relative / self._relative_std)

    def predict(self, population: Population) -> Prediction:
        """Guess the quantity: mean and spread, each n."""
        mean = np.maximum(self._columns(population) @ self._coefficients, self._least)
        return Prediction(mean, mean * self._relative_std, self._residuals)

    def _columns(self, population: Population) -> Vector:
        costs = self._space.layers.costs(population)
        first, second = (getattr(costs, name) for name in self._costs)
        return np.stack([4 * first, second, np.full(len(population), 1e6)], axis=1)


def _solve(columns: Vector) -> Vector:
    """Least squares of columns @ x = 1, every row being relative to what was measured."""
    solution = np.linalg.lstsq(columns, np.ones(len(columns)), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def fit_memory(space: SearchSpace, profile: Profile) -> LinearInCosts | None:
    """Fit resident bytes on weights and activations; None where too few subnets tell them."""
    return _fit(space, profile, "resident_bytes", ("num_params", "activation_bytes"))


def fit_energy(space: SearchSpace, profile: Profile) -> LinearInCosts | None:
    """Fit millijoules a run on MACs and weights; None where too few subnets tell them."""
    return _fit(space, profile, "energy_mj", ("macs", "num_params"))


def _fit(
    space: SearchSpace, profile: Profile, field: str, costs: tuple[str, str]
) -> LinearInCosts | None:
    """Fit on the calibration subnets of a profile."""
    known = [s for s in profile.subnets if s.role == "calibration" and getattr(s, field)]
    if len(known) < LEAST_SUBNETS:
        return None
    predictor = LinearInCosts(space, costs)
    population = space.encode_all(space.architecture(subnet.values) for subnet in known)
    predictor.fit(population, np.array([float(getattr(subnet, field)) for subnet in known]))
    return predictor

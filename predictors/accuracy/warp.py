"""A monotone change of scale that makes skewed targets as normal as they can be."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import yeojohnson, yeojohnson_llf

from predictors.predictor import Vector

LEAST_TARGETS = 10  # fewer say nothing about skewness
POWERS = (-3.0, 5.0)  # where the power is looked for; 1 changes nothing
STEP = 1e-4


@dataclass(frozen=True)
class Warp:
    """Yeo and Johnson's power (Biometrika, 2000) of standardised targets, standardised again.

    A tenth of a benchmark's cells may fail to train; to a model that weighs squares they would be
    all that matters. Past the fitted targets the scale goes on as a straight line.

    Args:
        power: 1 leaves targets as they are, more stretches the upper end.
        centre, scale: of the targets.
        power_centre, power_scale: of their powers.
        ends: least and greatest of the fitted targets, warped.
    """

    power: float
    centre: float
    scale: float
    power_centre: float
    power_scale: float
    ends: tuple[float, float]

    def forward(self, targets: Vector) -> Vector:
        """Return n targets on the normal scale."""
        powers = yeojohnson((targets - self.centre) / self.scale, self.power)
        return np.asarray((powers - self.power_centre) / self.power_scale)

    def back(self, warped: Vector) -> Vector:
        """Return n values in the targets' unit."""
        inside = np.clip(warped, *self.ends)
        return np.asarray(self._inside(inside) + (warped - inside) * self._slope(inside))

    def slope(self, warped: Vector) -> Vector:
        """Return how much of the targets' unit one of the normal scale is at n places."""
        return self._slope(np.clip(warped, *self.ends))

    def _slope(self, inside: Vector) -> Vector:
        low = np.maximum(inside - STEP, self.ends[0])
        high = np.minimum(inside + STEP, self.ends[1])
        rise = self._inside(high) - self._inside(low)
        return np.asarray(np.maximum(rise / (high - low), 1e-9 * self.scale))

    def _inside(self, warped: Vector) -> Vector:
        powers = warped * self.power_scale + self.power_centre
        return np.asarray(self.centre + self.scale * _inverse(powers, self.power))


def fit_warp(targets: Vector) -> Warp:
    """Return the warp of greatest likelihood for n targets; of few, or of equal ones, the one that
    only standardises.
    """
    centre, spread = float(targets.mean()), float(targets.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(targets).max())):
        return Warp(1.0, centre, 1e-6 * max(1.0, abs(centre)), 0.0, 1.0, (-1.0, 1.0))
    standard = (targets - centre) / spread
    power = 1.0
    if len(targets) >= LEAST_TARGETS:
        found = minimize_scalar(
            lambda value: -yeojohnson_llf(value, standard), bounds=POWERS, method="bounded"
        )
        power = float(found.x)
    powers = np.asarray(yeojohnson(standard, power))
    middle, width = float(powers.mean()), float(powers.std())
    warped = (powers - middle) / width
    return Warp(power, centre, spread, middle, width, (float(warped.min()), float(warped.max())))


def _inverse(powers: Vector, power: float) -> Vector:
    upper, lower = np.maximum(powers, 0.0), np.maximum(-powers, 0.0)
    return _root(upper, power) - _root(lower, 2 - power)


def _root(powers: Vector, power: float) -> Vector:
    """Return what plus 1, to the power, less 1, over the power, gives these values of 0 or more."""
    if abs(power) < 1e-9:
        return np.asarray(np.expm1(powers))
    return np.asarray(np.expm1(np.log1p(powers * power) / power))

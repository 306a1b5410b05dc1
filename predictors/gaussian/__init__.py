"""Gaussian processes on groups of columns, for populations as matrices."""

from predictors.gaussian.fit import expected_kernel, fit_kernel
from predictors.gaussian.kernel import Group, Kernel
from predictors.gaussian.pool import PoolPosterior
from predictors.gaussian.process import GaussianProcess, condition, standardised

__all__ = [
    "GaussianProcess",
    "Group",
    "Kernel",
    "PoolPosterior",
    "condition",
    "expected_kernel",
    "fit_kernel",
    "standardised",
]

"""Parameters of a kernel from observations."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from predictors.encodings.encoding import Matrix
from predictors.gaussian.kernel import Group, Kernel
from predictors.predictor import Vector

NOISE = 0.05  # expected share of the targets' variance
SPREAD_WEIGHT, SPREAD_LENGTH, SPREAD_NOISE = 1.5, 0.7, 1.0  # prior std of the logarithms
FARTHEST = 4.0  # of these, that a parameter may go from what is expected
JITTER = 1e-8
ITERATIONS = 60


def expected_kernel(groups: tuple[Group, ...], rows: Matrix) -> Kernel:
    """Return the kernel to expect before targets are seen: every group explains the same share of
    the variance, over the distance that is typical for `n x f` rows.
    """
    weights, lengths = np.ones(len(groups)), np.ones(len(groups))
    for i, group in enumerate(groups):
        weights[i] = 1 / (len(groups) * max(float(group.diagonal(rows).mean()), 1e-9))
        if group.shape not in ("linear", "tanimoto"):
            # the mean of all squared distances is twice the sum of the columns' variances
            typical = 2 * float(rows[:, group.start : group.stop].var(axis=0).sum())
            lengths[i] = np.sqrt(typical) if typical > 0 else 1.0
    return Kernel(groups, weights, lengths, NOISE)


def fit_kernel(expected: Kernel, rows: Matrix, targets: Vector) -> Kernel:
    """Return the kernel of greatest posterior density: marginal likelihood times a log-normal prior
    around `expected` (Rasmussen and Williams, 2006, section 5.4.1).

    Args:
        expected: the prior's centre.
        rows: `n x f`.
        targets: n, of mean 0 and variance 1.
    """
    statistics = [group.statistic(rows, rows) for group in expected.groups]
    centre = expected.parameters
    spread = np.full(len(centre), SPREAD_LENGTH)
    spread[: len(expected.groups)] = SPREAD_WEIGHT
    spread[-1] = SPREAD_NOISE

    def loss(parameters: Vector) -> tuple[float, Vector]:
        value, gradient = _negative_log_likelihood(
            expected.with_parameters(parameters), statistics, targets
        )
        away = (parameters - centre) / spread
        return value + 0.5 * float(away @ away), gradient + away / spread

    bounds = np.stack([centre - FARTHEST * spread, centre + FARTHEST * spread], axis=1)
    found = minimize(
        loss,
        centre,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": ITERATIONS, "ftol": 1e-4},
    )
    return expected.with_parameters(found.x)


def _negative_log_likelihood(
    kernel: Kernel, statistics: list[Matrix], targets: Vector
) -> tuple[float, Vector]:
    """Return the loss without its constant, and its gradient by the kernel's parameters."""
    n = len(targets)
    likenesses = [
        group.likeness(statistic, length)
        for group, statistic, length in zip(kernel.groups, statistics, kernel.lengths, strict=True)
    ]
    covariance = kernel.combine(statistics)
    covariance[np.diag_indices(n)] += kernel.noise + JITTER
    factor = cho_factor(covariance, lower=True)
    solved = cho_solve(factor, targets)
    value = 0.5 * float(targets @ solved) + float(np.log(np.diag(factor[0])).sum())
    # eq. 5.9: half the trace of this times the covariance's derivative
    outer = cho_solve(factor, np.eye(n)) - np.outer(solved, solved)
    by_weight = [
        0.5 * weight * float(np.vdot(outer, likeness))
        for weight, likeness in zip(kernel.weights, likenesses, strict=True)
    ]
    by_length = [
        0.5
        * kernel.weights[i]
        * float(np.vdot(outer, kernel.groups[i].slope(statistics[i], kernel.lengths[i])))
        for i in kernel.has_length
    ]
    by_noise = 0.5 * kernel.noise * float(np.trace(outer))
    return value, np.array([*by_weight, *by_length, by_noise])

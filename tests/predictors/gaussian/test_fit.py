import numpy as np
import pytest
from scipy.optimize import approx_fprime

from predictors.gaussian import Group, condition, expected_kernel, fit_kernel, standardised
from predictors.gaussian.fit import _negative_log_likelihood

GROUPS = (
    Group(0, 3, "gaussian"),
    Group(0, 3, "linear"),
    Group(3, 6, "matern"),
    Group(3, 6, "exponential"),
    Group(0, 6, "tanimoto"),
)


def data(n=40, seed=0):
    rows = np.random.default_rng(seed).integers(0, 3, (n, 6)).astype(np.float64)
    return rows, np.sin(rows[:, 0]) + 0.3 * rows[:, 4]


def test_the_gradient_is_that_of_the_likelihood():
    rows, targets = data()
    kernel = expected_kernel(GROUPS, rows)
    statistics = [group.statistic(rows, rows) for group in GROUPS]

    def loss(parameters):
        return _negative_log_likelihood(
            kernel.with_parameters(parameters), statistics, standardised(targets)
        )

    at = kernel.parameters + 0.1
    numeric = approx_fprime(at, lambda p: loss(p)[0], 1e-6)
    np.testing.assert_allclose(loss(at)[1], numeric, rtol=1e-3, atol=1e-4)


def test_parameters_come_back_as_they_went():
    kernel = expected_kernel(GROUPS, data()[0])
    changed = kernel.parameters + np.arange(len(kernel.parameters)) / 10
    np.testing.assert_allclose(kernel.with_parameters(changed).parameters, changed)


def test_what_explains_the_targets_gets_the_weight():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 4))
    groups = (Group(0, 2, "gaussian"), Group(2, 4, "gaussian"))
    kernel = fit_kernel(expected_kernel(groups, rows), rows, standardised(np.sin(rows[:, 0])))
    assert kernel.weights[0] > 10 * kernel.weights[1]


def test_fitted_parameters_predict_better_than_expected_ones():
    rows, targets = data(60)
    unseen, truth = data(60, seed=9)
    expected = expected_kernel(GROUPS, rows)
    fitted = fit_kernel(expected, rows, standardised(targets))
    errors = [
        np.abs(condition(k, rows, targets).predict(unseen)[0] - truth).mean()
        for k in (expected, fitted)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("n", [1, 2])
def test_few_or_equal_observations_keep_the_expectation_finite(n):
    rows = np.ones((n, 6))
    kernel = fit_kernel(expected_kernel(GROUPS, rows), rows, standardised(np.full(n, 3.0)))
    mean, std = condition(kernel, rows, np.full(n, 3.0)).predict(data()[0])
    np.testing.assert_allclose(mean, 3.0)
    assert np.isfinite(std).all()

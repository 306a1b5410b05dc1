import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

from predictors.gaussian import Group, Kernel, PoolPosterior, condition
from predictors.gaussian.fit import JITTER

KERNEL = Kernel(
    (Group(0, 5, "gaussian"), Group(0, 5, "matern")), np.array([0.7, 0.4]), np.array([1.5, 3]), 0.02
)


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(25, 5))


@pytest.fixture
def targets(rows):
    return 40 + 3 * np.sin(rows[:, 0]) + rows[:, 1]


@pytest.fixture
def unseen():
    return np.random.default_rng(1).normal(size=(60, 5))


def test_as_scikit_learn_has_it(rows, targets, unseen):
    kernel = ConstantKernel(1.0) + 0.7 * RBF(1.5) + 0.4 * Matern(3.0, nu=2.5)
    other = GaussianProcessRegressor(kernel, alpha=0.02, optimizer=None, normalize_y=True)
    mean, std = other.fit(rows, targets).predict(unseen, return_std=True)
    ours = condition(KERNEL, rows, targets).predict(unseen)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-6)
    np.testing.assert_allclose(ours[1], std, rtol=1e-5)


def test_rows_together_agree_with_rows_alone(rows, targets, unseen):
    process = condition(KERNEL, rows, targets)
    mean, covariance = process.joint(unseen)
    alone, std = process.predict(unseen)
    np.testing.assert_allclose(mean, alone)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), std, rtol=1e-6)


def test_samples_have_the_mean_and_covariance_of_the_posterior(rows, targets, unseen):
    process = condition(KERNEL, rows, targets)
    drawn = process.sample(unseen[:4], 40_000, np.random.default_rng(0))
    mean, covariance = process.joint(unseen[:4])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.1)


def test_leaving_one_out_is_as_fitting_without_it(rows, targets):
    process = condition(KERNEL, rows, targets)
    mean, std = process.leave_one_out()
    for i in (0, 7, 24):
        others = np.arange(len(rows)) != i
        # the scale of the targets is that of all of them, in the closed form
        inside = (targets - process.centre) / process.scale
        factor = np.linalg.inv(
            KERNEL.covariance(rows[others], rows[others])
            + (KERNEL.noise + JITTER) * np.eye(others.sum())
        )
        shared = KERNEL.covariance(rows[[i]], rows[others])[0]
        expected = process.centre + process.scale * (shared @ factor @ inside[others])
        variance = KERNEL.diagonal(rows[[i]])[0] - shared @ factor @ shared + KERNEL.noise
        np.testing.assert_allclose(mean[i], expected)
        np.testing.assert_allclose(std[i], process.scale * np.sqrt(variance), rtol=1e-5)


def test_a_pool_is_predicted_as_any_rows_are(targets):
    pool = np.random.default_rng(2).normal(size=(80, 5))
    observed = np.random.default_rng(3).permutation(80)[:40]
    values = 3 * np.sin(pool[observed, 0]) + 5
    posterior = PoolPosterior(KERNEL, pool, observed[:10])
    posterior.observe(observed[10:11])
    posterior.observe(observed[11:])
    process = condition(KERNEL, pool[observed], values)
    mean, std = posterior.predict(values)
    expected = process.predict(pool)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
    np.testing.assert_allclose(std, expected[1], rtol=1e-5)
    assert len(posterior) == 40


def test_deviations_of_a_pool_have_the_covariance_of_the_posterior():
    pool = np.random.default_rng(2).normal(size=(30, 5))
    observed, chosen = np.arange(8), np.array([1, 9, 20])
    targets = np.arange(8.0)
    posterior = PoolPosterior(KERNEL, pool, observed)
    drawn = posterior.deviations(chosen, targets, 40_000, np.random.default_rng(0))
    expected = condition(KERNEL, pool[observed], targets).joint(pool[chosen])[1]
    np.testing.assert_allclose(np.cov(drawn.T), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e12])
def test_equal_targets_are_predicted_everywhere(rows, unseen, value):
    mean, std = condition(KERNEL, rows, np.full(25, value)).predict(unseen)
    np.testing.assert_allclose(mean, value)
    assert np.isfinite(std).all()

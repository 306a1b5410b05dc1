import numpy as np
import pytest

from predictors.gaussian import Group, Kernel, condition
from predictors.gaussian.kernel import CONSTANT
from search_spaces import build_space

SHAPES = ("linear", "tanimoto", "gaussian", "exponential", "matern")


def counts(n=12, seed=0):
    return np.random.default_rng(seed).integers(0, 3, (n, 6)).astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_covariance_has_no_negative_eigenvalue(shape):
    kernel = Kernel((Group(0, 6, shape),), np.array([2.0]), np.array([1.5]), 0.1)
    covariance = kernel.covariance(counts(), counts())
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_the_diagonal_is_that_of_the_covariance(shape):
    kernel = Kernel((Group(1, 5, shape),), np.array([2.0]), np.array([1.5]), 0.1)
    whole = np.diag(kernel.covariance(counts(), counts()))
    np.testing.assert_allclose(kernel.diagonal(counts()), whole)


def test_gaussian_on_one_hot_columns_is_the_exponential_of_the_hamming_distance():
    space = build_space("nasbench201")
    population = space.sample(20, np.random.default_rng(0))
    one_hot = space.features(population).astype(np.float64)
    hamming = (population[:, None] != population[None]).sum(axis=2)
    group = Group(0, one_hot.shape[1], "gaussian")
    found = group.likeness(group.statistic(one_hot, one_hot), length=2.0)
    np.testing.assert_allclose(found, np.exp(-hamming / 4))


def test_tanimoto_of_sets_is_the_share_in_common():
    rows = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    common = Group(0, 3, "tanimoto").statistic(rows, rows)
    np.testing.assert_allclose(common, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]], atol=1e-9)


def test_groups_see_their_columns_only():
    groups = (Group(0, 3, "gaussian"), Group(3, 6, "linear"))
    kernel = Kernel(groups, np.array([1.0, 0.5]), np.array([1.0, 1.0]), 0.1)
    a, b = counts(5), counts(7, seed=1)
    distances = ((a[:, None, :3] - b[None, :, :3]) ** 2).sum(axis=2)
    expected = CONSTANT + np.exp(-distances / 2) + 0.5 * a[:, 3:] @ b[:, 3:].T
    np.testing.assert_allclose(kernel.covariance(a, b), expected)


def test_a_linear_group_is_a_ridge_regression():
    rng = np.random.default_rng(0)
    rows, unseen = rng.normal(size=(30, 4)), rng.normal(size=(9, 4))
    targets = rows @ [1.0, -2.0, 0.5, 0.0]
    kernel = Kernel((Group(0, 4, "linear"),), np.array([10.0]), np.ones(1), 1e-6)
    mean, _ = condition(kernel, rows, targets).predict(unseen)
    np.testing.assert_allclose(mean, unseen @ [1.0, -2.0, 0.5, 0.0], atol=1e-4)

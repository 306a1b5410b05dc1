import numpy as np
import pytest

from nas.searching import surrogate
from nas.searching.surrogate import Surrogate
from predictors.gaussian import Group, condition, expected_kernel

POOL = np.random.default_rng(0).normal(size=(120, 3))
TARGETS = np.sin(POOL[:, 0]) + POOL[:, 1]
ORDER = np.random.default_rng(1).permutation(120)


def new_surrogate():
    expected = expected_kernel((Group(0, 3, "gaussian"), Group(0, 3, "linear")), POOL)
    return Surrogate(expected, np.random.default_rng(2))


def test_guesses_come_nearer_as_observations_grow():
    learner, errors = new_surrogate(), []
    for n in (3, 20, 60):
        mean, _ = learner.learn(POOL, ORDER[:n], TARGETS[ORDER[:n]])
        errors.append(np.abs(mean - TARGETS).mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2


def test_one_by_one_is_as_all_at_once():
    """Between fits, the kernel is the same and observations are only added."""
    learner = new_surrogate()
    for n in range(40, 44):
        mean, std = learner.learn(POOL, ORDER[:n], TARGETS[ORDER[:n]])
    process = condition(learner._kernel, POOL[ORDER[:43]], TARGETS[ORDER[:43]])
    expected = process.predict(POOL)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
    noise = learner._kernel.noise * TARGETS[ORDER[:43]].var()
    np.testing.assert_allclose(std**2, expected[1] ** 2 + noise, rtol=1e-4)


def test_kernels_are_fitted_as_observations_grow_by_a_tenth(monkeypatch):
    fits = []
    fit_kernel = surrogate.fit_kernel
    monkeypatch.setattr(
        surrogate, "fit_kernel", lambda *args: (fits.append(len(args[2])), fit_kernel(*args))[1]
    )
    learner = new_surrogate()
    for n in range(40, 60):
        learner.learn(POOL, ORDER[:n], TARGETS[ORDER[:n]])
    assert fits == [40, 44, 49, 54]


def test_of_many_observations_the_lowest_are_kept(monkeypatch):
    monkeypatch.setattr(surrogate, "MOST_KEPT", 20)
    learner = new_surrogate()
    mean, std = learner.learn(POOL, ORDER[:90], TARGETS[ORDER[:90]])
    assert len(learner._posterior) == 20
    lowest = ORDER[:90][np.argsort(TARGETS[ORDER[:90]])[:10]]
    np.testing.assert_allclose(mean[lowest], TARGETS[lowest], atol=0.3)
    assert std[lowest].mean() < std.mean()
    learner.learn(POOL, ORDER[:91], TARGETS[ORDER[:91]])
    assert len(learner._posterior) == 21


def test_deviations_need_something_learnt():
    with pytest.raises(AssertionError, match="learnt"):
        new_surrogate().deviations(np.arange(3), 2)

import numpy as np
import pytest
from scipy.stats import skew

from predictors.accuracy.warp import fit_warp


def skewed(seed=0):
    """Accuracies of which a tenth failed."""
    rng = np.random.default_rng(seed)
    return np.concatenate([94 - rng.gamma(2.0, 1.5, 180), rng.uniform(10, 60, 20)])


@pytest.mark.parametrize("sign", [1, -1])
def test_skewed_targets_come_closer_to_normal(sign):
    targets = sign * skewed()
    warped = fit_warp(targets).forward(targets)
    assert abs(skew(warped)) < 1 < 2.5 < abs(skew(targets))
    assert warped.mean() == pytest.approx(0, abs=1e-9)
    assert warped.std() == pytest.approx(1)


@pytest.mark.parametrize("sign", [1, -1])
def test_back_undoes_forward(sign):
    targets = sign * skewed()
    warp = fit_warp(targets)
    np.testing.assert_allclose(warp.back(warp.forward(targets)), targets, rtol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_rises_everywhere_and_goes_on_straight(sign):
    warp = fit_warp(sign * skewed())
    places = np.linspace(-30, 30, 10_001)
    values = warp.back(places)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    for end in (slice(0, 3000), slice(-3000, None)):
        np.testing.assert_allclose(np.diff(values[end], n=2), 0, atol=1e-9)


def test_slope_is_that_of_back():
    warp = fit_warp(skewed())
    places = np.linspace(-3, 3, 101)
    step = 1e-3
    expected = (warp.back(places + step) - warp.back(places - step)) / (2 * step)
    np.testing.assert_allclose(warp.slope(places), expected, rtol=0.02)


def test_few_targets_are_only_standardised():
    warp = fit_warp(np.array([1.0, 2.0, 30.0]))
    np.testing.assert_allclose(warp.back(np.array([0.0, 1.0])), [11, 11 + np.std([1, 2, 30])])


def test_equal_targets():
    warp = fit_warp(np.full(12, 0.25))
    np.testing.assert_array_equal(warp.forward(np.full(2, 0.25)), 0)
    np.testing.assert_array_equal(warp.back(np.zeros(2)), 0.25)

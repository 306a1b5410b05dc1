import numpy as np

from nas.searching.targets import compressed, excess

COSTS = np.array([3.0, 4.0, 5.0, 9.0, 90.0])


def test_costs_up_to_the_median_stay_as_they_are():
    np.testing.assert_allclose(compressed(COSTS, COSTS)[:3], COSTS[:3])


def test_the_tail_comes_nearer_and_keeps_its_order():
    found = compressed(COSTS, COSTS)
    assert (np.diff(found) > 0).all()
    assert found[-1] < 13


def test_shift_and_scale_of_costs_are_those_of_the_result():
    np.testing.assert_allclose(
        compressed(10 * COSTS - 700, 10 * COSTS - 700), 10 * compressed(COSTS, COSTS) - 700
    )


def test_others_are_compressed_as_those_told():
    others = np.array([2.0, 5.0, 90.0])
    np.testing.assert_allclose(compressed(others, COSTS), [2.0, 5.0, compressed(COSTS, COSTS)[-1]])


def test_equal_costs_stay_finite():
    for value in (0.0, 7.0, -1e12):
        assert np.isfinite(compressed(np.full(4, value), np.full(4, value))).all()


def test_excess_is_below_0_where_limits_are_kept_and_grows_with_what_exceeds_them():
    found = excess(np.array([0.0, 0.1, 0.2, 5.0, np.inf]))
    assert found[0] == -1
    assert (np.diff(found) >= 0).all()
    assert (found[1:] > 0).all()
    assert np.isfinite(found).all()


def test_failures_alone_exceed_limits_too():
    assert excess(np.array([np.inf, 0.0])).tolist() == [np.log1p(10.0), -1.0]

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.finetuning.agreement import RESAMPLES, agreement, kendall_interval


def compare(inherited, trained, lower_is_better=False, macs=None):
    halves = np.stack([trained, trained], axis=1)
    return agreement(
        inherited,
        trained,
        {"inherited": halves, "trained": halves},
        {"macs": np.arange(len(trained), dtype=np.float64) if macs is None else macs},
        lower_is_better=lower_is_better,
        seed=0,
    )


def test_the_interval_is_that_of_resampled_subnets():
    """The same draws, one by one, by scipy: subnets repeated as often as they were drawn."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=9)
    second = np.round(first + rng.normal(size=9), 0)  # with ties
    counts = np.random.default_rng([4, 0xB007]).multinomial(9, np.full(9, 1 / 9), RESAMPLES)
    taus = []
    for count in counts:
        index = np.repeat(np.arange(9), count)
        if np.ptp(first[index]) > 0 and np.ptp(second[index]) > 0:
            taus.append(kendalltau(first[index], second[index]).statistic)
    expected = np.quantile(taus, [0.05, 0.95])
    np.testing.assert_allclose(kendall_interval(first, second, 4), expected, atol=1e-9)


def test_more_subnets_make_the_interval_narrower():
    rng = np.random.default_rng(0)
    widths = []
    for n in (8, 80):
        x = rng.normal(size=n)
        low, high = kendall_interval(x, x + rng.normal(size=n), 0)
        assert -1 <= low < high <= 1
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_planted_ranks_are_found():
    quality = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.6, 0.8, 0.7])
    same = compare(quality, quality + 0.25)
    assert (same.kendall, same.spearman) == (pytest.approx(1), pytest.approx(1))
    assert (same.top, same.top_overlap) == (2, 1.0)
    assert same.mean_gap == pytest.approx(0.25)
    assert same.baselines["macs"] == pytest.approx(
        kendalltau(np.arange(8), quality).statistic, abs=1e-12
    )
    reverse = compare(quality, -quality)
    assert (reverse.kendall, reverse.top_overlap) == (pytest.approx(-1), 0.0)


def test_losses_are_ranked_from_the_lowest():
    loss = np.array([4.0, 3.0, 2.0, 1.0])
    trained = np.array([2.0, 3.0, 1.0, 0.5])
    found = compare(loss, trained, lower_is_better=True)
    assert found.kendall == pytest.approx(kendalltau(loss, trained).statistic)
    assert (found.top, found.top_overlap) == (1, 1.0)
    assert found.baselines["macs"] > 0, "larger ones lose less"
    assert found.best_baseline == ("macs", found.baselines["macs"])


def test_a_constant_has_no_rank():
    found = compare(np.full(4, 0.5), np.array([0.1, 0.2, 0.3, 0.4]))
    assert (found.kendall, found.spearman, found.interval) == (None, None, None)

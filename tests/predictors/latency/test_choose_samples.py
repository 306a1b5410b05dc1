import numpy as np
import pytest

from predictors.latency.choose_samples import NOISE, choose_samples, sample_features
from search_spaces import InputError, build_space


def posterior_variance(features, chosen):
    """Mean variance over the pool of a Bayesian line through the chosen rows, by inverses."""
    rows = np.hstack([np.ones((len(features), 1)), features - features.mean(axis=0)])
    prior = np.diag([0.1, *[1.0] * features.shape[1]])
    weights = np.linalg.inv(prior + rows[chosen].T @ rows[chosen] / NOISE)
    return np.mean(((rows @ weights) * rows).sum(axis=1))


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return (rng.lognormal(0, 0.5, (400, 3)) @ rng.uniform(0, 1, (3, 8)) + 1) / 3


def test_chosen_rows_tell_more_than_random_ones(features):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chosen = choose_samples(features, 8, rng)
        others = [
            posterior_variance(features, rng.choice(400, 8, replace=False)) for _ in range(20)
        ]
        assert posterior_variance(features, chosen) < 0.8 * min(others)


def test_every_next_row_is_the_best_of_the_candidates(features):
    """Greedy by brute force, on a pool so small that half of it is looked through."""
    pool = features[:40]
    chosen = choose_samples(pool, 6, np.random.default_rng(3))
    candidates = np.random.default_rng(3).choice(40, 20, replace=False)
    expected: list[int] = []
    for _ in range(6):
        left = [c for c in candidates if c not in expected]
        expected.append(min(left, key=lambda c: posterior_variance(pool, [*expected, c])))
    assert chosen.tolist() == expected


def test_draws_differ_and_follow_the_seed(features):
    draws = {
        tuple(sorted(choose_samples(features, 10, np.random.default_rng(seed)).tolist()))
        for seed in range(10)
    }
    assert len(draws) == 10
    again = [choose_samples(features, 10, np.random.default_rng(1)).tolist() for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("n", [1, 10, 50])
def test_chosen_rows_are_distinct(features, n):
    chosen = choose_samples(features[:50], n, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == n
    assert ((chosen >= 0) & (chosen < 50)).all()


def test_columns_that_never_vary_say_nothing(features):
    constant = np.hstack([features, np.full((400, 1), 3.3), np.zeros((400, 1))])
    plain, other = (choose_samples(f, 6, np.random.default_rng(0)) for f in (features, constant))
    np.testing.assert_array_equal(plain, other)
    assert len(choose_samples(np.ones((9, 2)), 4, np.random.default_rng(0))) == 4


@pytest.mark.parametrize("n", [-1, 0, 51])
def test_numbers_that_the_pool_does_not_hold_are_refused(features, n):
    with pytest.raises(InputError, match="between 1 and 50"):
        choose_samples(features[:50], n, np.random.default_rng(0))


def test_without_known_targets_costs_and_options_are_spread_over():
    space = build_space("mobilenet-digits")
    pool = space.sample_levels(500, np.random.default_rng(0))
    chosen = pool[choose_samples(sample_features(space, pool), 12, np.random.default_rng(1))]
    macs, of_pool = (space.layers.costs(p).macs for p in (chosen, pool))
    assert macs.min() < np.quantile(of_pool, 0.1)
    assert macs.max() > np.quantile(of_pool, 0.9)


def test_cells_without_known_targets_hold_many_options():
    space = build_space("nasbench201")
    pool = space.sample_distinct(1000, np.random.default_rng(0))
    chosen = pool[choose_samples(sample_features(space, pool), 10, np.random.default_rng(1))]
    assert space.features(chosen).any(axis=0).sum() >= 28  # of 30; ten random cells: 26.8


def test_features_are_as_wide_as_they_matter():
    """Known latencies share a variance of 1, whatever their unit; options one of a hundredth."""
    space = build_space("nasbench201")
    pool = space.sample(500, np.random.default_rng(0))
    known = [
        lambda population: population.sum(axis=1) + 1.0,
        lambda population: 1000.0 * population[:, 0] + 1,
        lambda population: np.ones(len(population)),
    ]
    features = sample_features(space, pool, known)
    np.testing.assert_allclose(features[:, :3].var(axis=0), [0.5, 0.5, 0.0])
    np.testing.assert_allclose(features[:, 3:].var(axis=0), 0.01 / 30)
    assert np.corrcoef(features[:, 0], pool.sum(axis=1))[0, 1] == pytest.approx(1)


def test_one_known_target_does_not_leave_options_untried():
    space = build_space("nasbench201")
    pool = space.sample_distinct(1000, np.random.default_rng(0))
    features = sample_features(space, pool, [lambda population: population.sum(axis=1) + 1.0])
    chosen = pool[choose_samples(features, 30, np.random.default_rng(1))]
    assert space.features(chosen).any(axis=0).all()

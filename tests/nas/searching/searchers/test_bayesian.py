import numpy as np
import pytest

from nas.searching.searchers import Known, SearcherSettings
from nas.searching.searchers.bayesian import BayesianSearcher
from search_spaces import Dimension, SearchSpace, build_space
from tests.contracts.searcher_contract import (
    SearcherContract,
    costs_of,
    rows,
    small_space,
    synthetic_space,
)


def error_of(space, population):
    """Least where many dimensions agree on an option, n; the first two only together."""
    share = population / np.maximum(space.num_options - 1, 1)
    return ((share - 0.6) ** 2).mean(axis=1) + 0.3 * (share[:, 0] - share[:, 1]) ** 2


def search(space, settings, asks, measure, seed=0):
    """Return what was asked."""
    searcher, asked = BayesianSearcher(space, np.random.default_rng(seed), settings), []
    for _ in range(asks):
        population = searcher.ask()
        if not len(population):
            break
        costs = measure(population)
        searcher.tell(population, costs, np.zeros(len(population)))
        asked.append(population)
    return np.concatenate(asked)


class TestBayesian(SearcherContract):
    name = "bayesian"
    one_at_a_time = True
    generations = 25
    many_generations = 40
    population = 10
    least_feasible = 0.3  # the best lie at the limit: it asks on both sides

    def test_the_first_spread_from_small_to_large(self):
        space = synthetic_space()
        settings = SearcherSettings(num_objectives=1)
        first = search(space, settings, 3, lambda p: np.zeros((len(p), 1)))
        levels = (first / (space.num_options - 1)).mean(axis=1)
        assert levels[0] < levels[1] < levels[2]
        assert levels[2] - levels[0] > 0.3

    @pytest.mark.parametrize("seed", range(3))
    def test_one_of_the_best_two_percent_is_found_in_30(self, seed):
        space = SearchSpace("plain@1", [Dimension(f"d{i}", (0, 1, 2, 3, 4)) for i in range(6)])
        errors = np.sort(error_of(space, space.all_architectures()))
        settings = SearcherSettings(num_objectives=1)
        asked = search(space, settings, 30, lambda p: error_of(space, p)[:, None], seed)
        assert error_of(space, asked).min() <= errors[312]

    def test_features_tell_where_to_look(self):
        """Costs that options do not tell, but a score does."""
        space = build_space("nasbench201")
        every = space.unique(space.all_architectures())
        hidden = np.random.default_rng(5).normal(size=(5,) * 6)
        lookup = lambda p: hidden[tuple(space.canonicalize(p).T)]  # noqa: E731
        settings = SearcherSettings(num_objectives=1, features=lambda p: lookup(p)[:, None])
        asked = search(space, settings, 15, lambda p: lookup(p)[:, None])
        assert lookup(asked).min() <= np.sort(lookup(every))[25]

    def test_what_is_known_to_exceed_limits_is_never_asked(self):
        for build in (synthetic_space, small_space):
            space = build()
            settings = SearcherSettings(
                known=lambda p, s=space: Known(
                    np.full((len(p), 2), np.nan), np.maximum(costs_of(s, p)[:, 1] - 0.3, 0)
                )
            )
            asked = search(space, settings, 12, lambda p, s=space: costs_of(s, p))
            assert (costs_of(space, asked)[:, 1] <= 0.3).all()

    def test_a_limit_that_nothing_keeps_ends_in_an_empty_answer(self):
        settings = SearcherSettings(
            known=lambda p: Known(np.full((len(p), 2), np.nan), np.ones(len(p)))
        )
        for build in (synthetic_space, small_space):
            assert not len(BayesianSearcher(build(), np.random.default_rng(0), settings).ask())

    def test_costs_that_are_known_are_not_guessed(self):
        """The second cost is known; only architectures that would lie on the front are asked."""
        space = small_space()
        every = space.all_architectures()
        known = SearcherSettings(
            known=lambda p: Known(
                np.column_stack([np.full(len(p), np.nan), costs_of(space, p)[:, 1]]),
                np.zeros(len(p)),
            )
        )
        asked = search(space, known, 16, lambda p: costs_of(space, p))
        assert rows(every[[costs_of(space, every)[:, 1].argmin()]])[0] in rows(asked)

    def test_a_batch_holds_different_good_architectures(self):
        space = synthetic_space()
        settings = SearcherSettings(num_objectives=1, batch=5)
        asked = search(space, settings, 8, lambda p: error_of(space, p)[:, None])
        assert len(set(rows(asked))) == len(asked)
        random = space.sample(1000, np.random.default_rng(0))
        good = np.quantile(error_of(space, random), 0.05)
        assert (error_of(space, asked[-10:]) < good).mean() >= 0.8

    def test_large_spaces_are_searched(self):
        space = build_space("mobilenet-v3")
        assert space.num_architectures > 1e18
        settings = SearcherSettings(num_objectives=1)
        asked = search(space, settings, 12, lambda p: error_of(space, p)[:, None])
        random = space.sample(100, np.random.default_rng(0))
        assert error_of(space, asked).min() < error_of(space, random).min()

import numpy as np
import pytest

from nas.searching.searchers import Known, SearcherSettings
from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from tests.contracts.searcher_contract import rows, small_space, synthetic_space


def least_sum(limit):
    """No more than `limit` in all dimensions together."""

    def known(population):
        excess = np.maximum(population.sum(axis=1) / limit - 1, 0)
        return Known(np.full((len(population), 2), np.nan), excess)

    return known


def drawn(space, n, known=None, seed=0, before=None):
    rng = np.random.default_rng(seed)
    proposed = Proposed(space, rng)
    if before is not None:
        proposed.add(before)
    return draw_feasible(proposed, n, rng, SearcherSettings(known=known))


def test_all_drawn_keep_a_limit_that_few_do():
    space = synthetic_space()
    known = least_sum(8)
    assert (known(space.sample(5000, np.random.default_rng(0))).violations == 0).mean() < 0.02
    population = drawn(space, 50, known)
    assert len(set(rows(population))) == 50
    assert (known(population).violations == 0).all()


def test_the_closest_make_up_the_number():
    """One architecture keeps the limit, and those beside it exceed it least."""
    space = synthetic_space()
    population = drawn(space, 10, least_sum(0.5))
    assert len(population) == 10
    assert population[0].sum() == 0
    assert population.sum(axis=1).max() <= 4


def test_without_limits_they_are_random_and_new():
    space = small_space()
    first = drawn(space, 20)
    rest = drawn(space, 20, seed=1, before=first)
    assert len(first) == 20
    assert len(rest) == 10
    assert set(rows(first)) | set(rows(rest)) == set(rows(space.all_architectures()))


@pytest.mark.parametrize("known", [None, least_sum(3)])
def test_nothing_is_left_of_an_exhausted_space(known):
    space = small_space()
    assert drawn(space, 5, known, before=space.all_architectures()).shape == (0, 4)
    assert drawn(space, 0, known).shape == (0, 4)

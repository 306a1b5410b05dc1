import numpy as np

from nas.searching.searchers.proposed import Proposed
from tests.contracts.searcher_contract import rows, small_space, synthetic_space


def proposed_of(space):
    return Proposed(space, np.random.default_rng(0))


def test_equal_networks_are_one():
    space = synthetic_space().with_network_key(lambda population: population[:, :2])
    proposed = proposed_of(space)
    population = space.sample(200, np.random.default_rng(1))
    fresh = proposed.fresh(population)
    pairs = [row[:2] for row in rows(population)]
    assert [row[:2] for row in rows(fresh)] == list(dict.fromkeys(pairs))
    assert proposed.new_rows(population).tolist() == [pairs.index(p) for p in dict.fromkeys(pairs)]
    proposed.add(fresh[:10])
    assert len(proposed) == 10
    assert rows(proposed.fresh(population)) == rows(fresh[10:])


def test_nothing_comes_of_nothing():
    proposed = proposed_of(synthetic_space())
    nothing = synthetic_space().smallest()[:0]
    assert proposed.fresh(nothing).shape == nothing.shape
    assert len(proposed.new_rows(nothing)) == 0
    proposed.add(nothing)
    assert len(proposed) == 0


def test_the_last_of_a_small_space_is_drawn():
    space = small_space()
    every = space.all_architectures()
    for last in range(0, len(every), 7):
        proposed = proposed_of(space)
        proposed.add(np.delete(every, last, axis=0))
        assert rows(proposed.draw(3, np.random.default_rng(0))) == [rows(every)[last]]


def test_draws_spread_where_asked_to():
    space = synthetic_space()
    rng = np.random.default_rng(0)
    even, spread = (proposed_of(space).draw(400, rng, levels) for levels in (False, True))
    sums = [population[:, :8].sum(axis=1).std() for population in (even, spread)]
    assert sums[1] > 1.5 * sums[0]

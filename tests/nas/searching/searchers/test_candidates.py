import numpy as np

from nas.searching.searchers import SearcherSettings
from nas.searching.searchers.candidates import EveryNetwork, Evolving, every_network
from nas.searching.searchers.proposed import Proposed
from predictors.gaussian.columns import ArchitectureColumns
from search_spaces import build_space
from tests.contracts.searcher_contract import rows, small_space, synthetic_space


def test_small_spaces_are_listed_by_network():
    space = small_space().with_network_key(lambda population: population[:, :1])
    assert len(every_network(space)) == 3
    assert every_network(build_space("mobilenet-v3")) is None


def test_what_is_asked_is_closed_and_observed_where_its_network_stands():
    space = small_space()
    networks = every_network(space)
    pool_of = EveryNetwork(space, networks, networks.astype(float), SearcherSettings())
    asked = networks[[7, 2]]
    pool_of.close(asked)
    pool = pool_of.pool(asked, asked)
    assert pool.observed.tolist() == [7, 2]
    assert np.flatnonzero(~pool.is_open).tolist() == [2, 7]
    assert np.isnan(pool.known_costs).all()


def test_children_are_new_and_told_ones_are_observed():
    space, rng = synthetic_space(), np.random.default_rng(0)
    told = space.sample_distinct(20, rng)
    proposed = Proposed(space, rng)
    proposed.add(told)
    columns = ArchitectureColumns(space, told)
    pool = Evolving(space, columns, proposed, rng, SearcherSettings()).pool(told, told[:5])
    assert rows(pool.population[pool.observed]) == rows(told)
    assert not set(rows(pool.population[pool.is_open])) & set(rows(told))
    assert pool.is_open.sum() > 300
    assert len(set(rows(pool.population))) == len(pool.population)
    near = (pool.population[pool.is_open][:, None] != told[None, :5]).sum(axis=2).min(axis=1)
    assert (near <= 2).mean() > 0.2

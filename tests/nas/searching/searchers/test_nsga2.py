import numpy as np
import pytest

from nas.searching.searchers import Known, SearcherSettings
from nas.searching.searchers.nsga2 import NSGA2Searcher
from tests.contracts.searcher_contract import SearcherContract, costs_of, rows, synthetic_space


class TestNSGA2(SearcherContract):
    name = "nsga2"

    def test_the_first_population_holds_both_ends(self):
        space = synthetic_space()
        first = rows(self.searcher(space).ask())
        assert tuple(space.smallest()[0].tolist()) in first
        assert tuple(space.largest()[0].tolist()) in first

    def test_the_first_population_keeps_the_limits_that_are_known(self):
        """A hundredth of the space does; the ends of the space do not."""
        space, limit = synthetic_space(), 0.1

        def known(population):
            costs = costs_of(space, population)
            return Known(np.full_like(costs, np.nan), np.maximum(costs[:, 1] / limit - 1, 0))

        start = space.smallest()
        first = self.searcher(space, known=known, start=start, measured=False).ask()
        assert len(first) == self.population
        assert known(start).violations > 0
        assert rows(first)[0] == rows(start)[0]
        assert (known(first).violations[1:] == 0).mean() > 0.9

    def test_more_than_two_objectives(self):
        space = synthetic_space()
        searcher = NSGA2Searcher(
            space, np.random.default_rng(0), SearcherSettings(num_objectives=3, population=16)
        )
        for _ in range(4):
            population = searcher.ask()
            costs = np.random.default_rng(1).random((len(population), 3))
            searcher.tell(population, costs, np.zeros(len(population)))

    def test_telling_something_else_is_our_own_mistake(self):
        space = synthetic_space()
        searcher = self.searcher(space)
        population = searcher.ask()
        with pytest.raises(AssertionError, match="asked"):
            searcher.tell(population[:3], np.zeros((3, 2)), np.zeros(3))

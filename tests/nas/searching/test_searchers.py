import numpy as np
import pytest

from nas.searching.nsga2 import NSGA2Searcher
from nas.searching.search import SEARCHERS
from tests.contracts.searcher_contract import SearcherContract, rows, synthetic_space


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_has_its_contract_suite(name):
    assert name in {suite.name for suite in SearcherContract.__subclasses__()}


class TestNSGA2(SearcherContract):
    name = "nsga2"

    def test_the_first_population_holds_both_ends(self):
        space = synthetic_space()
        first = rows(self.searcher(space).ask())
        assert tuple(space.smallest()[0].tolist()) in first
        assert tuple(space.largest()[0].tolist()) in first

    def test_more_than_two_objectives(self):
        space = synthetic_space()
        searcher = NSGA2Searcher(space, np.random.default_rng(0), 3, population_size=16)
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

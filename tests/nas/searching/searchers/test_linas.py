import numpy as np

from nas.searching.searchers import Known, SearcherSettings
from nas.searching.searchers.linas import LinasSearcher
from tests.contracts.searcher_contract import SearcherContract, costs_of, synthetic_space


class TestLinas(SearcherContract):
    name = "linas"
    generations = 5
    many_generations = 8
    population = 12

    def test_every_round_is_better_than_the_first(self):
        space = synthetic_space()
        settings = SearcherSettings(num_objectives=1, population=12)
        searcher, means = LinasSearcher(space, np.random.default_rng(0), settings), []
        for _ in range(4):
            population = searcher.ask()
            costs = costs_of(space, population)[:, :1]
            searcher.tell(population, costs, np.zeros(len(population)))
            means.append(costs.mean())
        assert max(means[1:]) < means[0]
        assert means[-1] < 0.5 * means[0]

    def test_what_is_known_to_exceed_limits_is_never_asked(self):
        space = synthetic_space()
        settings = SearcherSettings(
            population=10,
            known=lambda p: Known(
                np.column_stack([np.full(len(p), np.nan), costs_of(space, p)[:, 1]]),
                np.maximum(costs_of(space, p)[:, 1] - 0.3, 0),
            ),
        )
        searcher = LinasSearcher(space, np.random.default_rng(0), settings)
        for _ in range(3):
            population = searcher.ask()
            assert (costs_of(space, population)[:, 1] <= 0.3).all()
            searcher.tell(population, costs_of(space, population), np.zeros(len(population)))

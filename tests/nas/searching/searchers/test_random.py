import numpy as np

from nas.searching.searchers import SearcherSettings
from nas.searching.searchers.random import RandomSearcher
from tests.contracts.searcher_contract import SearcherContract, rows, small_space, synthetic_space


class TestRandom(SearcherContract):
    name = "random"
    learns = False

    def test_a_small_space_is_gone_through_to_the_end(self):
        space = small_space()
        asked = [row for population in self.run(space, generations=99) for row in rows(population)]
        assert len(asked) == len(set(asked)) == space.num_architectures

    def test_equal_networks_count_as_one(self):
        """Where a third of the architectures is one network, it comes first no more often."""
        space = small_space().with_network_key(lambda p: np.where(p[:, :1] == 0, 0, p))
        first = []
        for seed in range(300):
            population = self.searcher(space, seed).ask()
            assert len(space.unique(population)) == len(population)
            first.append(population[0, 0] == 0)
        assert 0 < np.mean(first) < 0.12  # 1 of 25 networks; 6 of 30 architectures
        assert len(np.concatenate(self.run(space, generations=9))) == 25

    def test_every_option_comes(self):
        space = synthetic_space()
        seen = np.concatenate(self.run(space))
        assert (seen.max(axis=0) == space.num_options - 1).all()
        assert (seen.min(axis=0) == 0).all()

    def test_what_is_given_is_asked_first(self):
        space = synthetic_space()
        start = space.sample_distinct(30, np.random.default_rng(5))
        settings = SearcherSettings(population=self.population, start=start)
        searcher = RandomSearcher(space, np.random.default_rng(0), settings)
        asked = np.concatenate([searcher.ask() for _ in range(3)])
        np.testing.assert_array_equal(asked[:30], start)
        assert len(set(rows(asked))) == 3 * self.population

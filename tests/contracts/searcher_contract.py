import numpy as np
import pytest

from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.searchers import SEARCHERS, Known, Searcher, SearcherSettings
from search_spaces import Dimension, SearchSpace

TARGETS = (0.15, 0.85)  # shares of the option range that two objectives pull to


def synthetic_space() -> SearchSpace:
    """12 dimensions of 5 options, the last four active at some options of the first four."""
    dimensions = [Dimension(f"d{i}", (0, 1, 2, 3, 4)) for i in range(8)]
    dimensions += [
        Dimension(f"c{i}", (0, 1, 2, 3, 4), (f"d{i}", frozenset({2, 3, 4}))) for i in range(4)
    ]
    return SearchSpace("synthetic@1", dimensions)


def small_space() -> SearchSpace:
    """30 architectures; one dimension is conditional."""
    return SearchSpace(
        "small@1",
        [
            Dimension("a", (1, 2, 3)),
            Dimension("b", (1, 2, 3)),
            Dimension("c", (1, 2, 3), ("a", frozenset({2}))),
            Dimension("d", (1, 2)),
        ],
    )


def costs_of(space: SearchSpace, population: np.ndarray) -> np.ndarray:
    """Two objectives in conflict, n x 2 in 0..1: squared distance to two places in the space."""
    share = population / np.maximum(space.num_options - 1, 1)
    return np.stack([((share - target) ** 2).mean(axis=1) for target in TARGETS], axis=1)


def rows(population: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row) for row in population.tolist()]


class SearcherContract:
    """What every searcher promises.

    A subclass names its entry of `SEARCHERS`.
    """

    name: str
    generations = 15
    many_generations = 60
    population = 24
    learns = True  # random search does not
    least_gain = 0.02  # of dominated area over random search
    least_feasible = 0.5  # of the last fifth, where a hundredth of the space is
    one_at_a_time = False  # whether an answer is a batch, not a population

    def searcher(self, space: SearchSpace, seed: int = 0, **settings) -> Searcher:
        """A new searcher."""
        chosen = SearcherSettings(**{"population": self.population, **settings})
        return SEARCHERS[self.name](space, np.random.default_rng(seed), chosen)

    def run(
        self, space: SearchSpace, seed: int = 0, generations: int | None = None, limit: float = 9.0
    ) -> list[np.ndarray]:
        """Ask and tell; what was asked, generation by generation, until nothing is.

        Beyond `limit` of the second objective is infeasible.
        """
        searcher, asked = self.searcher(space, seed), []
        for _ in range(generations or self.generations):
            population = searcher.ask()
            if not len(population):
                break
            costs = costs_of(space, population)
            searcher.tell(population, costs, np.maximum(costs[:, 1] / limit - 1, 0))
            asked.append(population)
        return asked

    @pytest.mark.parametrize("build", [synthetic_space, small_space])
    def test_answers_are_canonical_and_in_range(self, build):
        space = build()
        for population in self.run(space):
            assert population.dtype == np.int16
            assert population.shape[1] == space.num_dimensions
            assert ((population >= 0) & (population < space.num_options)).all()
            np.testing.assert_array_equal(space.canonicalize(population), population)

    def test_an_answer_holds_no_architecture_twice(self):
        for population in self.run(synthetic_space(), generations=self.many_generations // 2):
            assert len(set(rows(population))) == len(population)

    def test_what_was_told_is_never_proposed_again(self):
        for build in (synthetic_space, small_space):
            generations = self.run(build(), 0, self.many_generations)
            asked = [row for population in generations for row in rows(population)]
            assert len(set(asked)) == len(asked), f"{len(asked) - len(set(asked))} repeats"

    def test_answers_follow_the_seed(self):
        first, again, other = (self.run(synthetic_space(), seed, 5) for seed in (3, 3, 4))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(np.concatenate(first), np.concatenate(other))

    def test_global_generators_are_left_alone(self):
        before = np.random.get_state()[1].copy()
        self.run(synthetic_space(), generations=3)
        np.testing.assert_array_equal(np.random.get_state()[1], before)

    def test_a_generation_is_at_most_the_population(self):
        assert all(len(asked) <= self.population for asked in self.run(synthetic_space()))

    def test_an_exhausted_space_ends_in_an_empty_answer(self):
        space = small_space()
        searcher, seen = self.searcher(space), set()
        for _ in range(200):
            population = searcher.ask()
            if not len(population):
                assert population.shape == (0, space.num_dimensions)
                break
            seen |= set(rows(population))
            searcher.tell(population, costs_of(space, population), np.zeros(len(population)))
        else:
            pytest.fail("proposes for ever")
        assert len(seen) >= 0.9 * space.num_architectures

    def test_nothing_beyond_a_known_limit_is_measured(self):
        space, limit = synthetic_space(), 0.2

        def excess(population):
            return np.maximum(costs_of(space, population)[:, 1] / limit - 1, 0)

        def known(population):
            return Known(np.full((len(population), 2), np.nan), excess(population))

        assert 0.05 < (excess(space.sample(500, np.random.default_rng(0))) == 0).mean() < 0.5
        searcher = self.searcher(space, known=known, measured=True)
        for _ in range(4):
            population = searcher.ask()
            assert len(population)
            assert not excess(population).any()
            searcher.tell(population, costs_of(space, population), excess(population))

    def test_a_space_of_one_architecture(self):
        space = SearchSpace("one@1", [Dimension("a", (1,)), Dimension("b", (2,))])
        asked = self.run(space)
        assert len(asked) == 1
        assert rows(asked[0]) == [(0, 0)]

    @pytest.mark.parametrize("num_objectives", [1, 3])
    def test_any_number_of_objectives(self, num_objectives):
        space = synthetic_space()
        searcher, asked = self.searcher(space, num_objectives=num_objectives), []
        for _ in range(self.generations):
            population = searcher.ask()
            asked += rows(population)
            costs = costs_of(space, population)
            costs = np.column_stack([costs, costs.sum(axis=1)])[:, :num_objectives]
            searcher.tell(population, costs, np.zeros(len(population)))
        assert len(asked) == len(set(asked)) >= self.generations

    def test_evaluations_that_fail_are_lived_with(self):
        """Every third fails at first, and then all do."""
        space = synthetic_space()
        searcher, asked = self.searcher(space), []
        for generation in range(self.generations):
            population = searcher.ask()
            costs = costs_of(space, population)
            failed = (population.sum(axis=1) % 3 == 0) | (generation > self.generations // 2)
            costs[failed] = np.nan
            searcher.tell(population, costs, np.where(failed, np.inf, 0.0))
            asked += rows(population)
        assert len(asked) == len(set(asked)) >= self.generations

    def test_what_is_given_is_asked_first(self):
        space = synthetic_space()
        start = space.sample_distinct(10, np.random.default_rng(5))
        searcher, asked = self.searcher(space, start=start), []
        while len(asked) < len(start):
            population = searcher.ask()
            searcher.tell(population, costs_of(space, population), np.zeros(len(population)))
            asked += rows(population)
        assert asked[: len(start)] == rows(start)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_batch_is_no_longer_than_asked(self, batch):
        if not self.one_at_a_time:
            pytest.skip("works in generations")
        space = synthetic_space()
        searcher = self.searcher(space, batch=batch)
        for _ in range(2 * self.population):
            population = searcher.ask()
            assert 1 <= len(population) <= batch
            searcher.tell(population, costs_of(space, population), np.zeros(len(population)))

    def test_more_dominated_area_than_random_search(self):
        """For every seed, with the same number of evaluations."""
        if not self.learns:
            pytest.skip("is random search")
        space, reference = synthetic_space(), (0.6, 0.6)
        for seed in range(3):
            seen = np.concatenate(self.run(space, seed))
            random = space.sample(len(seen), np.random.default_rng(seed + 100))
            found, by_chance = (
                hypervolume(costs[non_dominated(costs)], reference)
                for costs in (costs_of(space, seen), costs_of(space, random))
            )
            assert found > by_chance + self.least_gain, (seed, found, by_chance)

    def test_feasible_architectures_are_preferred(self):
        """Where few architectures keep a limit, later generations are mostly within it."""
        if not self.learns:
            pytest.skip("is random search")
        space, limit = synthetic_space(), 0.1
        chance = (
            costs_of(space, space.sample(2000, np.random.default_rng(0)))[:, 1] <= limit
        ).mean()
        assert chance < 0.1
        last = np.concatenate(self.run(space, limit=limit)[-(self.generations // 5) :])
        assert (costs_of(space, last)[:, 1] <= limit).mean() > self.least_feasible

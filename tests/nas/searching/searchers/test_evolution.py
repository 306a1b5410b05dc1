import numpy as np

from nas.searching.searchers import Known
from tests.contracts.searcher_contract import SearcherContract, rows, synthetic_space


def sums(population):
    return population.sum(axis=1).astype(float)


def within(limit):
    """At most `limit` in all dimensions together."""

    def known(population):
        excess = np.maximum(sums(population) / limit - 1, 0)
        return Known(np.full((len(population), 1), np.nan), excess)

    return known


def distance(space, genome, others):
    """Least number of active dimensions in which a genome differs from others."""
    active = space.active(genome[None])[0]
    return ((others != genome) & active).sum(axis=1).min()


class TestRegularisedEvolution(SearcherContract):
    name = "regularised-evolution"
    generations = 600
    least_gain = 0.0  # a method for one objective
    one_at_a_time = True

    def test_children_differ_in_one_dimension_from_what_is_alive(self):
        """The youngest are alive, however good the others are."""
        space = synthetic_space()
        searcher, told = self.searcher(space, num_objectives=1), space.smallest()[:0]
        for step in range(3 * self.population):
            child = searcher.ask()
            if step >= self.population:
                alive = told[-self.population :]
                assert distance(space, child[0], alive) <= 1 + 4  # an activated one is drawn
                assert (child[:, :8] != alive[:, :8]).sum(axis=1).min() <= 1
            # what comes later is always worse: an elitist would breed from the first for ever
            searcher.tell(child, np.full((1, 1), float(step)), np.zeros(1))
            told = np.concatenate([told, child])


class TestConstrainedEvolution(SearcherContract):
    name = "constrained-evolution"

    def test_whatever_is_asked_keeps_the_known_limits(self):
        """Which few architectures do, and the objective draws beyond them."""
        space, limit = synthetic_space(), 9
        known = within(limit)
        assert (sums(space.sample(5000, np.random.default_rng(0))) <= limit).mean() < 0.05
        searcher, best = self.searcher(space, num_objectives=1, known=known), []
        for _ in range(self.generations):
            population = searcher.ask()
            assert len(population) == self.population
            assert (sums(population) <= limit).all()
            searcher.tell(population, -sums(population)[:, None], np.zeros(len(population)))
            best.append(sums(population).max())
        assert best[-1] == limit

    def test_parents_are_the_best_quarter(self):
        """Children mix and change what they have: a dimension that none of them has stays rare."""
        space = synthetic_space()
        searcher = self.searcher(space, num_objectives=1)
        first = searcher.ask()
        order = np.lexsort((sums(first),))
        searcher.tell(first, sums(first)[:, None], np.zeros(len(first)))
        parents = first[order[: self.population // 4]][:, :8]
        children = searcher.ask()[:, :8]
        held = (children[:, None] == parents).any(axis=1)  # options that some parent has there
        assert held.all(axis=1).mean() > 0.4
        assert held.mean() > 0.85
        others = first[order[self.population // 4 :]][:, :8]
        assert (parents != others[:, None]).any(axis=2).all()

    def test_what_failed_has_no_children(self):
        space = synthetic_space()
        searcher = self.searcher(space, num_objectives=1)
        first = searcher.ask()
        costs = np.full((len(first), 1), np.nan)
        costs[5] = 1.0
        searcher.tell(first, costs, np.where(np.isnan(costs[:, 0]), np.inf, 0.0))
        children = searcher.ask()
        assert ((children[:, :8] != first[5, :8]).mean(axis=1) < 0.6).all()
        assert tuple(first[5].tolist()) not in rows(children)

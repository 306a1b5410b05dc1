import numpy as np

from nas.searching.searchers import Known
from search_spaces import Dimension, SearchSpace
from tests.contracts.searcher_contract import SearcherContract, rows, synthetic_space


def ladder(num_dimensions: int = 6) -> SearchSpace:
    return SearchSpace(
        "ladder@1", [Dimension(f"d{i}", (0, 1, 2, 3)) for i in range(num_dimensions)]
    )


def sums(population):
    """A single cost whose only local optimum is the smallest architecture."""
    return population.sum(axis=1).astype(float)[:, None]


def asked_and_told(searcher, cost, steps, violation=lambda p: np.zeros(len(p))):
    """What was asked, one after the other, until nothing is."""
    asked = []
    for _ in range(steps):
        population = searcher.ask()
        searcher.tell(population, cost(population), violation(population))
        asked += rows(population)
    return asked


class TestLocalSearch(SearcherContract):
    name = "local-search"
    generations = 600
    least_gain = 0.0  # a method for one objective
    one_at_a_time = True
    least_feasible = 0.15  # it looks at the neighbours of what is feasible, whatever they are

    def test_every_question_is_a_neighbour_of_the_best_so_far(self):
        """Up to the optimum, where there is one only; then it begins anew."""
        searcher = self.searcher(ladder(), num_objectives=1)
        asked = np.array(asked_and_told(searcher, sums, 200))
        best = asked[0]
        for genome in asked[1:]:
            if not best.any():
                break
            assert (genome != best).sum() == 1
            best = min(best, genome, key=np.sum)
        assert not best.any()

    def test_it_goes_to_the_first_better_one(self):
        """Not to the best: after one step down the next question is a neighbour of that."""
        starts = [[3, 3, 3, 3, 3, 3]]
        searcher = self.searcher(ladder(), num_objectives=1, start=np.array(starts, dtype=np.int16))
        first, second, third = asked_and_told(searcher, sums, 3)
        assert sum(second) < sum(first)
        assert (np.array(third) != second).sum() == 1
        assert (np.array(third) != first).sum() in (1, 2)

    def test_where_no_neighbour_is_better_it_begins_anew(self):
        """On a plain every neighbour of the first is asked, and then one that is none."""
        space = ladder()
        searcher = self.searcher(space, num_objectives=1)
        asked = np.array(asked_and_told(searcher, lambda p: np.ones((len(p), 1)), 1 + 6 * 3 + 1))
        assert ((asked[1:-1] != asked[0]).sum(axis=1) == 1).all()
        assert (asked[-1] != asked[0]).sum() > 1

    def test_better_ones_seen_before_are_gone_over_for_free(self):
        """From a new beginning over a neighbour that was seen to a question two steps away."""
        space = SearchSpace("cube@1", [Dimension(f"d{i}", (0, 1)) for i in range(3)])
        steps = []
        for seed in range(20):
            searcher = self.searcher(space, seed, num_objectives=1, start=space.smallest())
            asked = np.array(asked_and_told(searcher, sums, 6))
            assert (asked[1:4].sum(axis=1) == 1).all()  # all neighbours of the optimum
            steps.append((asked[5] != asked[4]).sum())
        assert set(steps) == {1, 2}

    def test_neighbours_beyond_known_limits_are_not_asked_for(self):
        space = ladder()

        def known(population):
            excess = np.maximum(population.sum(axis=1) / 9 - 1, 0)
            return Known(np.full((len(population), 1), np.nan), excess)

        searcher = self.searcher(space, num_objectives=1, known=known)
        asked = np.array(
            asked_and_told(searcher, lambda p: -sums(p), 150, lambda p: known(p).violations)
        )
        assert asked.sum(axis=1).max() == 9
        assert (asked.sum(axis=1) <= 9).mean() > 0.95

    def test_every_beginning_of_several_objectives_weighs_them_anew(self):
        """Both ends of the front are reached."""
        space = synthetic_space()
        seen = np.concatenate(self.run(space))
        share = seen / (space.num_options - 1)
        costs = [((share - target) ** 2).mean(axis=1).min() for target in (0.15, 0.85)]
        assert max(costs) < 0.06

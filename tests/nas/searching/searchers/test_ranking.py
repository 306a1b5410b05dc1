import itertools

import numpy as np

from nas.searching.searchers.ranking import best_first


def test_one_objective_by_cost_within_the_limits():
    costs = np.array([[3.0], [1.0], [2.0], [0.0]])
    assert best_first(costs, np.zeros(4)).tolist() == [3, 1, 2, 0]
    assert best_first(costs, np.array([0.0, 0.0, 0.2, 0.1])).tolist() == [1, 0, 3, 2]


def test_several_objectives_by_front():
    """Nothing stands behind what it dominates, of random costs in two and three objectives."""
    for num_objectives in (2, 3):
        costs = np.random.default_rng(0).random((40, num_objectives))
        place = np.argsort(best_first(costs, np.zeros(40)))
        for a, b in itertools.permutations(range(40), 2):
            if (costs[a] < costs[b]).all():
                assert place[a] < place[b]


def test_within_a_front_the_less_crowded_first():
    costs = np.array([[0.0, 4.0], [1.9, 2.1], [2.0, 2.0], [2.1, 1.9], [4.0, 0.0]])
    order = best_first(costs, np.zeros(5)).tolist()
    assert set(order[:2]) == {0, 4}
    assert order[-1] == 2


def test_limits_come_before_costs():
    costs = np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 1.0]])
    assert best_first(costs, np.array([np.inf, 0.0, 0.5])).tolist() == [1, 2, 0]


def test_nobody_is_best_of_nobody():
    for num_objectives in (1, 2):
        assert best_first(np.zeros((0, num_objectives)), np.zeros(0)).tolist() == []

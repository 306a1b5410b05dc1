import numpy as np

from nas.searching.searchers.told import Told


def test_the_best_keep_limits_and_are_beaten_by_none():
    told = Told(1, 2)
    costs = np.array([[1.0, 9], [5, 5], [6, 6], [0, 0], [np.nan, np.nan]])
    violations = np.array([0.0, 0, 0, 0.4, np.inf])
    told.add(np.arange(5, dtype=np.int16)[:, None], costs, violations)
    assert told.best(2)[:, 0].tolist() == [0, 1] or told.best(2)[:, 0].tolist() == [1, 0]
    assert told.best(9)[:, 0].tolist()[2:] == [2, 3]
    assert told.succeeded.tolist() == [True] * 4 + [False]


def test_nothing_told_has_no_best():
    assert Told(4, 2).best(3).shape == (0, 4)

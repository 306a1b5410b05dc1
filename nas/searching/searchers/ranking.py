"""Which of n architectures are better: those that keep the limits first, then by their costs."""

import numpy as np
import numpy.typing as npt
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.searching.searchers.searcher import Costs, Violations


def best_first(costs: Costs, violations: Violations) -> npt.NDArray[np.intp]:
    """Return the rows of `n x m` costs from the best to the worst, n.

    Fewer violations first; then the lower cost, or of several objectives the front, and within a
    front the less crowded (Deb et al., A fast and elitist multiobjective genetic algorithm, 2002).
    Costs are finite; a violation may be infinite.
    """
    if costs.shape[1] == 1:
        return np.lexsort((costs[:, 0], violations))
    crowding, front = np.zeros(len(costs)), np.zeros(len(costs))
    for number, rows in enumerate(NonDominatedSorting().do(costs)):
        crowding[rows] = calc_crowding_distance(costs[rows])
        front[rows] = number
    return np.lexsort((-crowding, front, violations))

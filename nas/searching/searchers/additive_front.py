"""New networks that are best for an additive model of those that were evaluated."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats.qmc import LatinHypercube

from nas.searching.pareto import non_dominated
from nas.searching.searchers.additive_model import (
    AdditiveModel,
    Limit,
    additive_solver,
    fit_additive,
)
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from predictors.predictor import Vector
from search_spaces import Population, SearchSpace

FREE_SAMPLE = 2000  # networks whose known costs are fitted to, without evaluating any
TRIES = 10  # solutions of one level, before it is left
MOST_CUT = 200  # of the last solutions: every one makes the next a little slower to find
TIE_BREAK = 1e-3  # weight of the limited objectives: of equal solutions, the one that costs less


class AdditiveFront:
    """Solves an additive model exactly, for many levels of all objectives but the first.

    A solution has the least first objective among the networks whose other objectives are predicted
    to stay below a level (the augmented epsilon-constraint method, Mavrotas, 2009). Levels lie
    between the predictions of the best networks evaluated. What was proposed, or is known to exceed
    a limit, is cut off.

    Args:
        proposed: what is no solution any more; solutions are added.
    """

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        settings: SearcherSettings,
        proposed: Proposed,
    ) -> None:
        self._space, self._rng, self._settings = space, rng, settings
        self._proposed = proposed
        self._solver = additive_solver(space)
        self._cut = space.smallest()[:0]
        self.worst_gap = 0.0  # of all solutions, relative

    def solve(
        self, population: Population, costs: Costs, violations: Violations, n: int
    ) -> Population:
        """Return up to `n` new solutions of the model of `k x d` networks, each at its own level.

        Args:
            costs: `k x m`, finite.
            violations: k.
        """
        features = self._space.features(population)
        model = self._fit(features, costs, violations)
        sums = model.predict(features) - model.intercepts
        spread = np.maximum(sums[:, : costs.shape[1]].std(axis=0), np.finfo(np.float64).tiny)
        share = np.full(costs.shape[1], TIE_BREAK)
        share[0] = 1.0
        objective = model.weights[:, : costs.shape[1]] @ (share / spread)
        reached = _reached(sums, costs, violations)
        levels = LatinHypercube(max(1, len(reached)), rng=self._rng).random(n)
        found = [population[:0]]
        for level in levels:
            limits = [
                Limit(model.weights[:, column], float(np.quantile(values, share_of_values)))
                for (column, values), share_of_values in zip(reached.items(), level, strict=False)
            ]
            solution = self._best_new(objective, limits)
            if solution is not None:
                self._proposed.add(solution)
                found.append(solution)
        return np.concatenate(found)

    def _best_new(self, objective: Vector, limits: list[Limit]) -> Population | None:
        """Return the best new network, `1 x d`; None where there is none, or too many are old."""
        for _ in range(TRIES):
            solution = self._solver.solve(objective, limits, self._cut)
            if solution is None:
                return None
            self.worst_gap = max(self.worst_gap, solution.gap)
            genome = solution.genome
            self._cut = np.concatenate([self._cut, genome])[-MOST_CUT:]
            is_new = len(self._proposed.fresh(genome)) > 0
            if is_new and self._settings.known_violations(genome)[0] == 0:
                return genome
        return None

    def _fit(
        self, features: npt.NDArray[np.float32], costs: Costs, violations: Violations
    ) -> AdditiveModel:
        """Fit all objectives and, as the last column, the violations."""
        model = fit_additive(features, np.column_stack([costs, violations]))
        if self._known_model is None:
            return model
        columns, known = self._known_model
        weights, intercepts = model.weights.copy(), model.intercepts.copy()
        weights[:, columns], intercepts[columns] = known.weights, known.intercepts
        return AdditiveModel(weights, intercepts)

    @cached_property
    def _known_model(self) -> tuple[npt.NDArray[np.intp], AdditiveModel] | None:
        """Columns and model of the objectives that need no evaluation."""
        if self._settings.known is None:
            return None
        half = FREE_SAMPLE // 2
        sample = [self._space.sample(half, self._rng), self._space.sample_levels(half, self._rng)]
        population = np.concatenate(sample)
        costs = self._settings.known(population).costs
        columns = np.flatnonzero(~np.isnan(costs).any(axis=0))
        if not len(columns):
            return None
        return columns, fit_additive(self._space.features(population), costs[:, columns])


def _reached(
    sums: npt.NDArray[np.float64], costs: Costs, violations: Violations
) -> dict[int, Vector]:
    """Return, by column to limit, the sums that the best networks evaluated have there.

    Those are the networks that exceed the limits least, and of them those that no other beats. The
    violations are limited where any network has exceeded a limit.
    """
    least = np.flatnonzero(violations == violations.min())
    front = least[non_dominated(costs[least])]
    reached = {column: sums[front, column] for column in range(1, costs.shape[1])}
    if violations.any():
        reached[costs.shape[1]] = sums[least, costs.shape[1]]
    return reached

"""A searcher that solves an additive model of what was evaluated, exactly."""

import numpy as np

from nas.searching.searchers.additive_front import AdditiveFront
from nas.searching.searchers.certificate import certificate
from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from search_spaces import Population, SearchSpace

SAMPLED = 2  # networks to fit to, times the model's free weights
LEAST_FITTED = 3
MOST_SAMPLED = 1 / 3  # of the evaluations allowed


class ExactSearcher:
    """Ridge regression on options, solved by integer programming and fitted again.

    At first networks that spread over the space are evaluated, then generations of solutions
    (`AdditiveFront`). Where the model has nothing new, networks are drawn at random. The solutions
    are optimal for the model, which `notes` judge.
    """

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._space, self._rng, self._settings = space, rng, settings
        self._proposed = Proposed(space, rng)
        self._front = AdditiveFront(space, rng, settings, self._proposed)
        self._sample = self._first()
        self._told = self._sample[:0]
        self._costs = np.zeros((0, settings.num_objectives))
        self._violations = np.zeros(0)

    def ask(self) -> Population:
        """Return a generation: the sample at first, then solutions of the model."""
        size = self._settings.population
        asked, self._sample = self._sample[:size], self._sample[size:]
        if not len(asked) and len(self._told) >= LEAST_FITTED:
            asked = self._front.solve(self._told, self._costs, self._violations, size)
        if not len(asked):
            asked = draw_feasible(self._proposed, size, self._rng, self._settings)
        self._proposed.add(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs and violations; what failed is not fitted to."""
        ok = np.isfinite(costs).all(axis=1) & np.isfinite(violations)
        self._told = np.concatenate([self._told, population[ok]])
        self._costs = np.concatenate([self._costs, costs[ok]])
        self._violations = np.concatenate([self._violations, violations[ok]])

    @property
    def notes(self) -> tuple[str, ...]:
        """How far solutions are from optimal for the model, and how well the model ranks."""
        return certificate(self._space, self._told, self._costs[:, 0], self._front.worst_gap)

    def _first(self) -> Population:
        """Return what is given, both ends of the space and a sample, within the known limits."""
        settings, space = self._settings, self._space
        given = self._proposed.fresh(settings.first(space))
        num_weights = 1 + int((space.num_options - 1).sum())
        n = max(2, min(SAMPLED * num_weights, int(MOST_SAMPLED * settings.evaluations)))
        spread, uniform = space.sample_levels(n, self._rng), space.sample(n, self._rng)
        ends = np.concatenate([space.smallest(), space.largest()])
        mixed = np.stack([spread, uniform], axis=1).reshape(2 * n, space.num_dimensions)
        drawn = np.concatenate([ends, mixed])
        kept = drawn[settings.known_violations(drawn) == 0][:n]
        if len(kept) < n:
            kept = np.concatenate([kept, draw_feasible(self._proposed, n, self._rng, settings)])
        return self._proposed.fresh(np.concatenate([given, kept]))[: max(n, len(given))]


def exact_start(
    space: SearchSpace,
    population: Population,
    costs: Costs,
    violations: Violations,
    n: int,
    rng: np.random.Generator,
) -> Population:
    """Return up to `n` networks that are best for an additive model of those evaluated, `n x d`.

    They seed other searchers (`SearcherSettings.start`).

    Args:
        population, costs, violations: what was evaluated, `k x d`, `k x m` and k.
    """
    if len(population) < LEAST_FITTED:
        return population[:0]
    proposed = Proposed(space, rng)
    proposed.add(population)
    settings = SearcherSettings(num_objectives=costs.shape[1])
    front = AdditiveFront(space, rng, settings, proposed)
    return front.solve(population, costs, violations, n)

"""Bayesian search on populations: guess every candidate, ask those of the greatest improvement."""

import numpy as np
from scipy.special import ndtr

from nas.searching.guess import Guess
from nas.searching.searchers.candidates import (
    PARENTS,
    REFERENCE,
    EveryNetwork,
    Evolving,
    Pool,
    every_network,
)
from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from nas.searching.searchers.told import Told
from nas.searching.surrogate import Rows, Surrogate
from nas.searching.targets import compressed, excess
from predictors.gaussian import expected_kernel
from predictors.gaussian.columns import ArchitectureColumns
from predictors.predictor import Vector
from search_spaces import Population, SearchSpace

FIRST, FIRST_PER_OBJECTIVE = 1, 2  # architectures before anything is guessed: 3 for one objective
DRAWN = 64  # from which the first are chosen
SHORTLIST = 256  # best candidates, from which a batch is drawn


class BayesianSearcher:
    """Bayesian optimisation with Gaussian processes on encodings that fit the space.

    Every objective that only a measurement tells has its own process, as has the excess over limits
    that turn out when measuring. Of one objective the expected improvement is greatest where it
    asks (Jones et al., 1998), of two the expected hypervolume improvement, exact in closed form
    (Emmerich et al., 2011), of more the expected improvement of a random Chebyshev distance
    (Knowles, 2006); each times the probability of keeping the limits (Gardner et al., 2014). The
    rest of a batch is what is best in functions drawn from the posterior (Thompson sampling). Costs
    above the median are compressed: a tenth of the cells that do not train would be all that a
    process sees.

    Small spaces are guessed whole; of large ones candidates evolve from the best that were told and
    the best that were guessed.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._rng, self._settings = rng, settings
        self._proposed = Proposed(space, rng)
        networks = every_network(space)
        reference = networks
        if reference is None:
            halves = (space.sample(REFERENCE, rng), space.sample_levels(REFERENCE, rng))
            reference = np.concatenate(halves)
        columns = ArchitectureColumns(space, reference, settings.features)
        seen = columns(reference)
        self._candidates: EveryNetwork | Evolving = (
            Evolving(space, columns, self._proposed, rng, settings)
            if networks is None
            else EveryNetwork(space, networks, seen, settings)
        )
        expected = expected_kernel(columns.groups, seen)
        self._surrogates = [Surrogate(expected, rng) for _ in range(settings.num_objectives)]
        self._excess = Surrogate(expected, rng)
        self._told = Told(space.num_dimensions, settings.num_objectives)
        self._waiting = self._first_population(space)

    def ask(self) -> Population:
        """Return `batch` architectures, or fewer; none where nothing new is left."""
        size = min(self._settings.batch, self._settings.population)
        if len(self._waiting):
            asked, self._waiting = self._waiting[:size], self._waiting[size:]
        elif self._told.succeeded.any():
            asked = self._guessed(size)
        else:
            asked = self._within(draw_feasible(self._proposed, size, self._rng, self._settings))
        self._proposed.add(asked)
        self._candidates.close(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs and violations of the architectures asked last."""
        self._told.add(population, costs, violations)

    def _first_population(self, space: SearchSpace) -> Population:
        """Return what is given, and a few that spread from the smallest to the largest."""
        given = self._proposed.fresh(self._settings.first(space))
        count = FIRST + FIRST_PER_OBJECTIVE * self._settings.num_objectives - len(given)
        drawn = self._within(self._proposed.draw(DRAWN, self._rng, levels=True))
        if not len(drawn) or count <= 0:
            return given
        level = (drawn / np.maximum(space.num_options - 1, 1)).mean(axis=1)
        middles = (np.arange(count) + 0.5) / count * len(drawn)
        spread = drawn[np.argsort(level, kind="stable")[middles.astype(np.intp)]]
        return self._proposed.fresh(np.concatenate([given, spread]))

    def _within(self, population: Population) -> Population:
        return np.asarray(population[self._settings.known_violations(population) == 0])

    def _guessed(self, size: int) -> Population:
        """Return the best candidates. Of an evolving pool the parents are the best told, then also
        the best of the round before.
        """
        best_told = self._told.best(PARENTS)
        parents = best_told
        for _ in range(self._candidates.rounds):
            pool = self._candidates.pool(self._told.population, parents)
            if not pool.is_open.any():
                break
            guess = self._guess(pool)
            scores = np.where(pool.is_open, guess.scores(self._rng), -np.inf)
            count = min(SHORTLIST, int(pool.is_open.sum()))
            ranked = np.lexsort((guess.optimism(), -scores))[:count]
            parents = np.concatenate([pool.population[ranked[:PARENTS]], best_told])
        else:
            return pool.population[self._batch(pool, guess, ranked, size)]
        return pool.population[:0]

    def _batch(self, pool: Pool, guess: Guess, ranked: Rows, size: int) -> Rows:
        """Return the best row of a shortlist and those that are best in drawn functions."""
        if size == 1 or not len(guess.known):
            return ranked[:size]
        draws = np.zeros((size, len(ranked), self._settings.num_objectives))
        for column in self._measured(pool):
            draws[:, :, column] = self._surrogates[column].deviations(ranked, size)
        short = guess.rows(ranked)
        chosen = [0]
        for deviations in draws[1 : len(ranked)]:
            drawn = short.drawn(deviations, short.mean[chosen])
            order = np.lexsort((drawn.optimism(), -drawn.scores(self._rng)))
            chosen.append(next(int(row) for row in order if row not in chosen))
        return ranked[chosen]

    def _guess(self, pool: Pool) -> Guess:
        """Guess the pool's costs, compressed, and whether limits are kept."""
        is_told = self._told.succeeded
        costs = self._told.costs[is_told]
        known = np.empty_like(costs)
        mean, std = np.empty(pool.known_costs.shape), np.zeros(pool.known_costs.shape)
        measured = self._measured(pool)
        for column in range(self._settings.num_objectives):
            if column in measured:
                known[:, column] = compressed(costs[:, column], costs[:, column])
                mean[:, column], std[:, column] = self._surrogates[column].learn(
                    pool.columns, pool.observed[is_told], known[:, column]
                )
            else:
                scale = pool.known_costs[:, column]
                mean[:, column] = compressed(scale, scale)
                known[:, column] = compressed(costs[:, column], scale)
        keeps = self._told.violations[is_told] == 0
        return Guess(mean, std, self._keeps_limits(pool), known[keeps])

    def _measured(self, pool: Pool) -> list[int]:
        """Return the columns of costs that only a measurement tells."""
        return np.flatnonzero(np.isnan(pool.known_costs).any(axis=0)).tolist()

    def _keeps_limits(self, pool: Pool) -> Vector:
        """Return the probability of keeping the limits that measurements told of, p."""
        if not (self._told.violations > 0).any():
            return np.ones(len(pool.population))
        targets = excess(self._told.violations)
        mean, std = self._excess.learn(pool.columns, pool.observed, targets)
        return np.asarray(ndtr(-mean / np.maximum(std, 1e-9)))

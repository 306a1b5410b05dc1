"""What may be asked next: every network of a small space, else what evolves from the best."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import SearcherSettings
from predictors.encodings import Matrix
from predictors.gaussian.columns import ArchitectureColumns
from search_spaces import Population, SearchSpace

MOST_ARCHITECTURES = 2**16  # of a space that is enumerated
MOST_NETWORKS = 20_000  # that are all guessed at once
REFERENCE = 512  # architectures that stand for a large space
PARENTS = 50
CHILDREN = 200  # of each kind, a round


@dataclass(frozen=True)
class Pool:
    """Architectures that are guessed together.

    Args:
        population: `p x d`.
        columns: what a surrogate sees of them, `p x f`.
        observed: rows of the n architectures that were told, in the order of telling.
        is_open: which rows may be asked, p.
        known_costs: what is known without measuring, `p x m`; NaN where nothing is.
    """

    population: Population
    columns: Matrix
    observed: npt.NDArray[np.intp]
    is_open: npt.NDArray[np.bool_]
    known_costs: Matrix


class EveryNetwork:
    """All networks of a small space: one fixed pool.

    Args:
        networks: one architecture of each, `p x d`.
        columns: `p x f`.
    """

    def __init__(
        self, space: SearchSpace, networks: Population, columns: Matrix, settings: SearcherSettings
    ) -> None:
        self._space, self._networks, self._columns = space, networks, columns
        self._row = {key.tobytes(): row for row, key in enumerate(space.equivalence_key(networks))}
        self._is_open = settings.known_violations(networks) == 0
        self._known_costs = known_costs(networks, settings)
        self.rounds = 1

    def close(self, population: Population) -> None:
        """Take note that these are asked: nobody need ask them again."""
        self._is_open[self._rows(population)] = False

    def pool(self, told: Population, _parents: Population) -> Pool:
        """Return the pool where `told` are observed."""
        rows = self._rows(told)
        return Pool(self._networks, self._columns, rows, self._is_open.copy(), self._known_costs)

    def _rows(self, population: Population) -> npt.NDArray[np.intp]:
        keys = self._space.equivalence_key(population)
        return np.array([self._row[key.tobytes()] for key in keys], dtype=np.intp)


class Evolving:
    """Mutations and crossings of parents, and random architectures: another pool every time."""

    def __init__(
        self,
        space: SearchSpace,
        columns: ArchitectureColumns,
        proposed: Proposed,
        rng: np.random.Generator,
        settings: SearcherSettings,
    ) -> None:
        self._space, self._columns, self._proposed = space, columns, proposed
        self._rng, self._settings = rng, settings
        self.rounds = 3

    def close(self, population: Population) -> None:
        """Nothing to do: what was proposed is in no pool."""

    def pool(self, told: Population, parents: Population) -> Pool:
        """Return what was told, the parents and their children, and random architectures.

        Args:
            parents: the best first, `k x d`; those that were not asked yet may be asked.
        """
        space, rng = self._space, self._rng
        bred = [draw_feasible(self._proposed, CHILDREN, rng, self._settings)]
        if len(parents):
            first, second = parents[rng.integers(0, len(parents), (2, CHILDREN))]
            several = min(3 / max(space.num_dimensions, 1), 1.0)
            bred += [
                parents,
                space.mutate(first, 0.0, rng),  # one change
                space.mutate(second, several, rng),
                space.mutate(space.crossover(first, second, rng), 0.0, rng),
                space.crossover(first, second, rng),
            ]
        new = self._proposed.fresh(np.concatenate(bred))
        new = new[self._settings.known_violations(new) == 0]
        population = np.concatenate([told, new])
        is_open = np.arange(len(population)) >= len(told)
        known = known_costs(population, self._settings)
        return Pool(population, self._columns(population), np.arange(len(told)), is_open, known)


def every_network(space: SearchSpace) -> Population | None:
    """Return one architecture of each network; None where they are too many."""
    if space.num_architectures > MOST_ARCHITECTURES:
        return None
    networks = space.unique(space.all_architectures())
    return networks if len(networks) <= MOST_NETWORKS else None


def known_costs(population: Population, settings: SearcherSettings) -> Matrix:
    """Return what is known of n architectures without measuring, `n x m`; NaN where nothing is."""
    if settings.known is None:
        return np.full((len(population), settings.num_objectives), np.nan)
    return settings.known(population).costs

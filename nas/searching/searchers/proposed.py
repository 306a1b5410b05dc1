"""What was proposed before: equal networks count as one."""

import numpy as np
import numpy.typing as npt

from search_spaces import Population, SearchSpace

MAX_ROUNDS = 20  # of drawing, before a space counts as exhausted


class Proposed:
    """Remembers architectures by the networks they are, and keeps new ones apart.

    Args:
        space: what populations are of.
        rng: of the hash's weights.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space = space
        width = space.equivalence_key(space.smallest()).shape[1]
        self._weights = rng.integers(-(2**62), 2**62, width)
        self._hashes = np.zeros(0, dtype=np.int64)  # ascending

    def __len__(self) -> int:
        """Distinct networks so far."""
        return len(self._hashes)

    def add(self, population: Population) -> None:
        """Remember these."""
        self._hashes = np.union1d(self._hashes, self._hash(population))

    def fresh(self, population: Population) -> Population:
        """Return the rows that are new, each network once, in order."""
        first = self.first_of_each(population)
        return population[first[~self._is_known(self._hash(population[first]))]]

    def first_of_each(self, population: Population) -> npt.NDArray[np.intp]:
        """Return the rows at which each network of a population stands first, ascending."""
        _, first = np.unique(self._hash(population), return_index=True)
        return np.sort(first)

    def draw(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` new architectures at random; fewer where hardly any are left."""
        found = np.zeros((0, self._space.num_dimensions), dtype=np.int16)
        for _ in range(MAX_ROUNDS):
            if len(found) >= n:
                break
            drawn = self._space.sample(4 * n, rng)
            found = self.fresh(np.concatenate([found, drawn]))
        return found[:n]

    def _is_known(self, hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if not len(self._hashes):
            return np.zeros(len(hashes), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.asarray(self._hashes[at] == hashes)

    def _hash(self, population: Population) -> npt.NDArray[np.int64]:
        """One number per row, equal for equal networks; others collide once in 2^64."""
        keys = self._space.equivalence_key(population).astype(np.int64)
        return np.asarray((keys * self._weights).sum(axis=1))

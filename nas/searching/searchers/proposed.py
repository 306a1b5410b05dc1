"""What was proposed before: equal networks count as one."""

import numpy as np
import numpy.typing as npt

from search_spaces import Population, SearchSpace

MAX_ROUNDS = 20  # of drawing, before a space counts as exhausted
ENUMERABLE = 2**16  # spaces of so many architectures are gone through one by one in the end


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
        self._numbers: set[int] = set()

    def __len__(self) -> int:
        """Distinct networks so far."""
        return len(self._numbers)

    def numbers(self, population: Population) -> list[int]:
        """Return one number per row, equal for equal networks; others collide once in 2^64."""
        keys = self._space.equivalence_key(population).astype(np.int64)
        numbers: list[int] = (keys @ self._weights).tolist()
        return numbers

    def add(self, population: Population) -> None:
        """Remember these."""
        self._numbers.update(self.numbers(population))

    def fresh(self, population: Population) -> Population:
        """Return the architectures that are new, each network once, in order."""
        return np.asarray(population[self.new_rows(population)])

    def new_rows(self, population: Population) -> npt.NDArray[np.intp]:
        """Return the rows of a population that are new, each network once, ascending."""
        numbers = self.numbers(population)
        known = self._numbers.intersection(numbers)
        new = [row for row in _first_of_each(numbers) if numbers[row] not in known]
        return np.array(new, dtype=np.intp)

    def draw(self, n: int, rng: np.random.Generator, levels: bool = False) -> Population:
        """Draw `n` new architectures at random; fewer where hardly any are left, in a small space
        where there are no more.

        Args:
            levels: spread from the smallest to the largest architecture, not over the options.
        """
        sample = self._space.sample_levels if levels else self._space.sample
        found = np.zeros((0, self._space.num_dimensions), dtype=np.int16)
        for _ in range(MAX_ROUNDS):
            if len(found) >= n:
                return found[:n]
            drawn = sample(4 * n, rng)
            found = self.fresh(np.concatenate([found, drawn]))
        if self._space.num_architectures <= ENUMERABLE:
            every = self._space.all_architectures()
            found = self.fresh(np.concatenate([found, rng.permutation(every)]))
        return found[:n]


def _first_of_each(numbers: list[int]) -> list[int]:
    """Return the first row of every number, ascending."""
    backwards = range(len(numbers) - 1, -1, -1)
    return sorted(dict(zip(reversed(numbers), backwards, strict=True)).values())

"""Published zero-cost scores of architectures, as further columns for predictors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from nas.benchmarking.tables import ARCHITECTURE, CLASS, read_table
from predictors.encodings import Matrix
from search_spaces import InputError, Population, SearchSpace


@dataclass(frozen=True)
class ZeroCostScores:
    """Scores of m networks as an `Encoding`: call it with a population.

    Every score is on a normal scale: the quantile of its rank among the table's networks, so that
    failures coded as -1e8 and scores over many decades do no harm. Architectures that are the same
    network share one row, the mean rank of those that were scored.
    """

    path: Path
    space: SearchSpace
    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]  # m, ascending: of equivalence keys
    keys: npt.NDArray[np.int16]  # m x k
    values: Matrix  # m x s

    def covers(self, population: Population) -> npt.NDArray[np.bool_]:
        """Tell which architectures have scores (their own or an equal network's), n."""
        return self._find(population)[1]

    def __call__(self, population: Population) -> Matrix:
        """Return the scores, `n x s`.

        Raises:
            InputError: an architecture that has none; keep those that `covers` names.
        """
        rows, found = self._find(population)
        if not found.all():
            raise InputError(
                f"{self.path} has scores for {found.sum()} of {len(found)} architectures; "
                "leave the others out, or the scores"
            )
        return np.asarray(self.values[rows])

    def _find(self, population: Population) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        keys = self.space.equivalence_key(population)
        places = np.searchsorted(self.codes, _codes(keys))
        rows = np.minimum(places, len(self.codes) - 1)
        return rows, (self.keys[rows] == keys).all(axis=1)


def read_scores(path: Path, space: SearchSpace) -> ZeroCostScores:
    """Read a table with a column `arch` and one of numbers for every score.

    Raises:
        InputError: what `read_table` refuses, no column of scores, or a score that is no number.
    """
    table = read_table(path, space)
    names = tuple(name for name in table.columns if name not in (ARCHITECTURE, CLASS))
    if not names:
        raise InputError(f"{path}: expected a column of scores beside {ARCHITECTURE!r}, got none")
    scores = np.stack([table.numbers(name) for name in names], axis=1)
    if np.isnan(scores).any():
        row, column = np.argwhere(np.isnan(scores))[0]
        raise InputError(f"{path}, row {row + 2}, {names[column]}: expected a number, got nan")
    keys = space.equivalence_key(table.population)
    codes, first, network = np.unique(_codes(keys), return_index=True, return_inverse=True)
    ranks = _mean_by(network, rankdata(scores, axis=0))
    share = (rankdata(ranks, axis=0) - 0.5) / len(codes)
    return ZeroCostScores(path, space, names, codes, keys[first], norm.ppf(share))


def _codes(keys: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Return one number a key, by random multipliers modulo 2^64: keys differ, so do numbers."""
    limits = np.iinfo(np.int64)
    rng = np.random.default_rng(0)
    multipliers = rng.integers(limits.min, limits.max, keys.shape[1], dtype=np.int64)
    return np.asarray(keys.astype(np.int64) @ multipliers)


def _mean_by(group: npt.NDArray[np.intp], values: Matrix) -> Matrix:
    """Average the rows of every group: `n x s` to `groups x s`."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.bincount(group)[:, None]
    return np.asarray(np.add.reduceat(values[order], starts, axis=0) / sizes)

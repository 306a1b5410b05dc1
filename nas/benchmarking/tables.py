"""Published benchmark tables: CSV files, plain or gzipped, one architecture a row."""

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from predictors.predictor import Vector
from search_spaces import InputError, Population, SearchSpace, unknown_name

REPEATED = 0.01  # share by which two measurements of an architecture may differ
ARCHITECTURE, CLASS, LATENCY = "arch", "isomorphism_class", "latency_ms_"


@dataclass(frozen=True)
class BenchmarkTable:
    """Every row of a table, checked."""

    path: Path
    space: SearchSpace
    population: Population  # n x d
    classes: npt.NDArray[np.int64]  # n: equal where the networks are the same
    columns: Mapping[str, tuple[str, ...]]  # all columns by name, as text

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets whose latencies the table holds."""
        return tuple(n.removeprefix(LATENCY) for n in self.columns if n.startswith(LATENCY))

    def latency(self, target: str) -> Vector:
        """Return the latencies (ms) on a target, n.

        Raises:
            InputError: an unknown target, or a latency that is negative or not a number.
        """
        if target not in self.targets:
            raise unknown_name("target", target, self.targets)
        latencies = self.numbers(LATENCY + target)
        self._check(LATENCY + target, np.isfinite(latencies) & (latencies > 0), "a latency above 0")
        return latencies

    def accuracy(self, column: str = "") -> Vector:
        """Return the accuracies (%) in a column, n; without a name the first with `acc` in it.

        Raises:
            InputError: no such column, or a value that is not a number.
        """
        names = [name for name in self.columns if "acc" in name]
        if not column and not names:
            raise InputError(
                f"{self.path}: expected a column with 'acc' in its name, got "
                f"{', '.join(self.columns)}; name one with --accuracy-column"
            )
        accuracy = self.numbers(column or names[0])
        self._check(column or names[0], np.isfinite(accuracy), "a finite number")
        return accuracy

    def numbers(self, column: str) -> Vector:
        """Return a column of numbers, n.

        Raises:
            InputError: an unknown column, or a value that is not a number.
        """
        if column not in self.columns:
            raise unknown_name("column", column, self.columns)
        try:
            return np.array(self.columns[column], dtype=np.float64)
        except ValueError:
            wrong = np.array([not _is_number(text) for text in self.columns[column]])
            self._check(column, ~wrong, "a number")
            raise

    @cached_property
    def class_representatives(self) -> npt.NDArray[np.intp]:
        """Rows of the first architecture of every class, ascending."""
        _, first = np.unique(self.classes, return_index=True)
        return np.sort(first)

    def rows_of(self, population: Population) -> npt.NDArray[np.intp]:
        """Return the row of every architecture, n.

        Raises:
            InputError: an architecture that the table does not hold.
        """
        order, known = self._order
        codes = population.astype(np.int64) @ self._multipliers
        rows = order[np.minimum(np.searchsorted(known, codes), len(known) - 1)]
        if not np.array_equal(self.population[rows], population):
            raise InputError(f"{self.path} does not hold all of these architectures")
        return np.asarray(rows)

    @cached_property
    def _multipliers(self) -> npt.NDArray[np.int64]:
        """Random, so that a row's sum (modulo 2^64) is its own."""
        rng = np.random.default_rng(0)
        limits = np.iinfo(np.int64)
        return rng.integers(limits.min, limits.max, self.space.num_dimensions, dtype=np.int64)

    @cached_property
    def _order(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        codes = self.population.astype(np.int64) @ self._multipliers
        order = np.argsort(codes, kind="stable")
        return order, codes[order]

    def _check(self, column: str, good: npt.NDArray[np.bool_], expected: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise InputError(
                f"{self.path}, row {row + 2}, {column}: expected {expected}, "
                f"got {self.columns[column][row]!r}"
            )


def read_table(path: Path, space: SearchSpace) -> BenchmarkTable:
    """Read a table of architectures in the space's published text form.

    Raises:
        InputError: not a CSV file (or a truncated one), no `arch` column, no rows, a row of another
            length, text that is not an architecture of the space, or an architecture that comes
            again with other values.
    """
    header, rows = _read_rows(path)
    if ARCHITECTURE not in header:
        raise InputError(
            f"{path}: expected a column {ARCHITECTURE!r}, got {', '.join(header) or 'none'}"
        )
    if not rows:
        raise InputError(f"{path} has no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: expected {len(header)} values, got {len(row)}")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    try:
        population = space.encode_all(space.parse(text) for text in columns[ARCHITECTURE])
    except InputError as error:
        raise InputError(f"{path}: {error}; choose the table's space with --space") from None
    kept = _first_rows(path, population, columns)
    population = population[kept]
    columns = {name: tuple(texts[row] for row in kept) for name, texts in columns.items()}
    keys = columns.get(CLASS)
    source = space.equivalence_key(population) if keys is None else np.array(keys)[:, None]
    _, classes = np.unique(source, axis=0, return_inverse=True)
    return BenchmarkTable(path, space, population, np.asarray(classes).reshape(-1), columns)


def _first_rows(
    path: Path, population: Population, columns: Mapping[str, Sequence[str]]
) -> list[int]:
    """Return the rows that hold an architecture for the first time; the others may only repeat it:
    in another text form, as where blocks beyond the depth are listed too, or measured again.
    """
    _, first, group = np.unique(population, axis=0, return_index=True, return_inverse=True)
    before = first[np.asarray(group).reshape(-1)]
    for row in np.flatnonzero(before != np.arange(len(population))).tolist():
        for name, texts in columns.items():
            tolerated = 0.0 if name == CLASS else REPEATED
            if name != ARCHITECTURE and not _alike(texts[row], texts[before[row]], tolerated):
                raise InputError(
                    f"{path}, rows {before[row] + 2} and {row + 2} are the same architecture: "
                    f"expected one {name}, got {texts[before[row]]} and {texts[row]}"
                )
    kept: list[int] = np.sort(first).tolist()
    return kept


def _read_rows(path: Path) -> tuple[list[str], Sequence[list[str]]]:
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is truncated or not a CSV file: {error}") from None
    return (rows[0], rows[1:]) if rows else ([], [])


def _alike(first: str, second: str, tolerated: float) -> bool:
    """Tell whether two texts are the same, or numbers whose difference is tolerated."""
    if first == second or not (_is_number(first) and _is_number(second)):
        return first == second
    return abs(float(first) - float(second)) <= tolerated * abs(float(first))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

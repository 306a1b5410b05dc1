"""Measured evaluations: logged one by one, and never made twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.artifact import Frozen
from nas.append_log import AppendLog
from nas.searching.searchers import Costs
from search_spaces import Architecture, InputError, Population, SearchSpace

Values = Mapping[str, int | float | str | bool]


@dataclass(frozen=True)
class Failure:
    """An evaluation that gave no number, and why."""

    reason: str


Answer = Mapping[str, float] | Failure
MeasureEach = Callable[[Sequence[Architecture]], Iterator[tuple[int, Answer]]]
"""Yields (position, answer) of every architecture, in the order in which they end."""


class LoggedEvaluation(Frozen):
    """One line of the log: what was measured of an architecture, or why it failed."""

    architecture_id: str
    values: Values
    made_from: str
    search: str = ""  # that asked for it
    measured: Mapping[str, float] = {}
    error: str | None = None


class MeasuredLog:
    """Measures what the log does not hold yet.

    Each answer is on the disk before the next is waited for; networks that are equal are measured
    once. What failed is tried again by the next search.

    Args:
        log: append-only; shared by all searches.
        space: what the architectures are of.
        made_from: hash of everything a measurement follows from; others' lines are left alone.
        search: hash of the search that asks. When it was interrupted, its own lines answer it when
            it asks again; those of others it knows from the beginning.
        names: k measured quantities, in the order of the columns to return.
        measure_each: measures architectures.

    Raises:
        InputError: a damaged line, or one of another space.
    """

    def __init__(
        self,
        log: AppendLog,
        space: SearchSpace,
        made_from: str,
        search: str,
        names: Sequence[str],
        measure_each: MeasureEach,
    ) -> None:
        self._log, self._space, self._made_from = log, space, made_from
        self._search = search
        self._names, self._measure_each = tuple(names), measure_each
        self._known: dict[bytes, Mapping[str, float]] = {}
        self._earlier = [space.smallest()[:0]]
        self._own: list[Population] = []
        self.num_measured = 0  # by this search, not found in the log
        for line in log.read_as(LoggedEvaluation):
            genome = self._genome(line) if line.made_from == made_from else None
            if genome is not None and line.error is None:
                self._remember(genome, line.measured, line.search != search)

    def remember(self, genome: Population, measured: Mapping[str, float]) -> None:
        """Take over what was measured elsewhere of one architecture, `1 x d`."""
        self._remember(genome, measured, True)

    def _remember(
        self, genome: Population, measured: Mapping[str, float], is_earlier: bool
    ) -> None:
        if set(self._names) <= set(measured) and self._key(genome) not in self._known:
            self._known[self._key(genome)] = measured
            if is_earlier:
                self._earlier.append(genome)

    @property
    def earlier(self) -> Population:
        """What was measured for other searches, n x d."""
        return np.concatenate(self._earlier)

    @property
    def everything(self) -> Population:
        """What was measured for other searches, and for this one since it began, n x d."""
        return np.concatenate([*self._earlier, *self._own])

    def __call__(self, population: Population) -> Costs:
        """Return the measured quantities of `n x d` architectures: n x k, NaN where it failed."""
        keys = [self._key(row[None]) for row in population]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        architectures = [self._space.decode(population[row]) for row in new.values()]
        rows = list(new)
        failed: set[bytes] = set()
        for position, answer in self._measure_each(architectures):
            self.num_measured += 1
            checked = self._checked(answer)
            self._append(architectures[position], checked)
            if isinstance(checked, Failure):
                failed.add(rows[position])
            else:
                self._known[rows[position]] = checked
        self._own.append(population[[row for row, key in enumerate(keys) if key not in failed]])
        missing = {name: float("nan") for name in self._names}
        found = [missing if key in failed else self._known[key] for key in keys]
        return np.array([[one[name] for name in self._names] for one in found]).reshape(
            len(population), len(self._names)
        )

    def _checked(self, answer: Answer) -> Answer:
        if isinstance(answer, Failure):
            return answer
        wrong = [name for name in self._names if not np.isfinite(answer.get(name, np.nan))]
        if wrong:
            return Failure(f"no finite number for {', '.join(wrong)}")
        return answer

    def _append(self, architecture: Architecture, answer: Answer) -> None:
        line = LoggedEvaluation(
            architecture_id=architecture.id,
            values=architecture.values,
            made_from=self._made_from,
            search=self._search,
            measured={} if isinstance(answer, Failure) else answer,
            error=answer.reason if isinstance(answer, Failure) else None,
        )
        self._log.append(line.model_dump())

    def _genome(self, line: LoggedEvaluation) -> Population:
        try:
            return self._space.encode(self._space.architecture(line.values))
        except InputError as error:
            raise InputError(f"{self._log.path}: {error}; remove that line") from None

    def _key(self, genome: Population) -> bytes:
        return self._space.equivalence_key(genome).tobytes()

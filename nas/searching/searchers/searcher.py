"""What a searcher is, and what it is built for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from predictors.encodings import Encoding
from search_spaces import Population, SearchSpace

Costs = npt.NDArray[np.float64]  # n x m, minimised
Violations = npt.NDArray[np.float64]  # n, 0 where every limit is kept


@dataclass(frozen=True)
class Known:
    """What predictors and formulas tell of n architectures before anything is measured."""

    costs: Costs  # n x m; NaN in the columns that only a measurement tells
    violations: Violations  # of the limits that are known; 0 where there are none


@dataclass(frozen=True)
class SearcherSettings:
    """What a searcher is built for.

    Args:
        num_objectives: m, columns of the costs it will be told.
        population: architectures a generation of those that work in generations; no answer to `ask`
            is longer.
        batch: architectures at a time of those that learn from each answer (as many as are measured
            side by side).
        evaluations: how many distinct architectures it will be allowed at most.
        measured: whether an evaluation takes a measurement; else predictors answer at once.
        known: what is known of any architectures before they are evaluated.
        features: what else describes architectures, n x k (zero-cost scores, say).
        start: architectures to propose first, k x d.
        storage, study: where optuna keeps its study (a journal file, or a database's URL) and what
            it is called there, so that several processes share it; in memory without.
    """

    num_objectives: int = 2
    population: int = 100
    batch: int = 1
    evaluations: int = 4000
    measured: bool = True
    known: Callable[[Population], Known] | None = None
    features: Encoding | None = None
    start: Population | None = None
    storage: str | None = None
    study: str = "search"

    def first(self, space: SearchSpace) -> Population:
        """Return `start`, canonical; no rows without it."""
        return space.smallest()[:0] if self.start is None else space.canonicalize(self.start)

    def within(self, population: Population) -> Population:
        """Return the architectures that may be evaluated: where that takes a measurement, those
        that keep the known limits.
        """
        if not self.measured or self.known is None:
            return population
        return np.asarray(population[self.known_violations(population) == 0])

    def known_violations(self, population: Population) -> Violations:
        """Return by how much n architectures exceed the limits that are known; 0 without any."""
        return (
            np.zeros(len(population)) if self.known is None else self.known(population).violations
        )


class Searcher(Protocol):
    """Proposes architectures and learns from what they cost.

    Call `ask`, evaluate, call `tell` with the same rows in the same order; repeat. An empty answer
    to `ask` means that nothing new is left to propose. Networks that are equal (by the space's
    `equivalence_key`) are proposed once.
    """

    def ask(self) -> Population:
        """Return canonical architectures to evaluate, `n x d`, none of them proposed before."""

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs (`n x m`, minimised) and violations (n, 0 is feasible) of the last `ask`.

        A row of NaN costs and an infinite violation is an evaluation that failed.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told: why `auto` chose what it chose, what a certificate is
        for.
        """


SearcherBuilder = Callable[[SearchSpace, np.random.Generator, SearcherSettings], Searcher]

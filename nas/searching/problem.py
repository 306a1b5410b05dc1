"""What a search minimises and which limits it keeps, for whole populations at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.searching.quantity import Estimate, Quantity
from nas.searching.searchers import Costs, Known, Violations
from predictors.predictor import Vector
from search_spaces import InfeasibleError, Population, SearchSpace
from search_spaces.part import SpacePart

MAX_DESCENT_STEPS = 500
STARTS = 1000  # drawn architectures, from the best of which a descent starts too


@dataclass(frozen=True)
class Limit:
    """The most that a quantity may be; held against its bound where it is a guess."""

    quantity: Quantity
    most: float

    def __str__(self) -> str:
        return f"{self.quantity.name} up to {self.most:.4g}"


@dataclass(frozen=True)
class Evaluation:
    """n architectures and their m costs."""

    costs: Costs  # n x m; a row of NaN is an evaluation that failed
    violations: Violations  # n; 0 where every limit is kept, else by which share they are exceeded

    def rows(self, which: Sequence[int] | np.ndarray) -> "Evaluation":
        """Return the evaluation of some rows."""
        return Evaluation(self.costs[which], self.violations[which])


class SearchProblem:
    """Quantities to minimise under limits on quantities.

    Args:
        part: where to search.
        objectives: m quantities, the first of which ranks what is found. Those that are measured
            cost a measurement of each architecture; the others are estimated for free.
        limits: on quantities that are not measured; all are hard.
        reference: m values, from which hypervolumes are counted; without it the values of the
            largest architecture.
    """

    def __init__(
        self,
        part: SpacePart,
        objectives: Sequence[Quantity],
        limits: Sequence[Limit] = (),
        reference: Sequence[float] | None = None,
    ) -> None:
        if any(limit.quantity.is_measured for limit in limits):
            raise AssertionError("a limit on what is measured cannot be kept before it is")
        self.part, self.space = part, part.whole
        self.objectives, self.limits = tuple(objectives), tuple(limits)
        self._reference = None if reference is None else np.asarray(reference, dtype=np.float64)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the objectives that only a measurement tells."""
        return tuple(one.name for one in self.objectives if one.is_measured)

    def known(self, population: Population) -> Known:
        """Return what `n x d` architectures cost without a measurement, and their violations.

        Raises:
            InputError: a user's function fails for all of them.
        """
        costs = np.full((len(population), len(self.objectives)), np.nan)
        for column, quantity in enumerate(self.objectives):
            if not quantity.is_measured:
                costs[:, column] = quantity(population).value
        return Known(costs, self.violations(population))

    def violations(self, population: Population) -> Violations:
        """Return by which share the limits are exceeded, n; infinite where one is unknown."""
        excess = np.zeros(len(population))
        for limit in self.limits:
            excess += np.maximum(limit.quantity(population).bound / limit.most - 1, 0)
        return np.where(np.isnan(excess), np.inf, excess)

    def evaluate(self, population: Population, found: Costs | None = None) -> Evaluation:
        """Return the costs of `n x d` architectures.

        Args:
            found: what was measured of them, n x k, in the order of `measured`; a row of NaN where
                it failed.
        """
        known = self.known(population)
        if self.measured:
            columns = [i for i, one in enumerate(self.objectives) if one.is_measured]
            if found is None:
                raise AssertionError(f"{', '.join(self.measured)} have to be measured first")
            known.costs[:, columns] = found
        failed = np.asarray(~np.isfinite(known.costs).all(axis=1))
        costs = np.where(failed[:, None], np.nan, known.costs)
        return Evaluation(costs, np.where(failed, np.inf, known.violations))

    def reference(self) -> Vector:
        """Return the corner from which hypervolumes are counted, m."""
        if self._reference is not None:
            return self._reference
        return np.array([self.largest(quantity) for quantity in self.objectives])

    def largest(self, quantity: Quantity) -> float:
        """Return what a quantity is at the largest architecture of the part, or the most of a few
        where it is no number there; 1 where nothing tells without a measurement.
        """
        if quantity.is_measured:
            return 1.0
        part = self.part.space
        few = np.concatenate([part.largest(), part.sample_levels(64, np.random.default_rng(0))])
        values = np.abs(quantity(self.part.embed(few)).value)
        finite = values[np.isfinite(values)]
        if np.isfinite(values[0]):
            return float(values[0])
        return float(finite.max(initial=0.0)) or 1.0

    def quantities(self) -> dict[str, Quantity]:
        """Return everything that is estimated, by name."""
        every = [*self.objectives, *(limit.quantity for limit in self.limits)]
        return {one.name: one for one in every if not one.is_measured}

    # --- limits -----------------------------------------------------------------------------------

    def range_of(self, quantity: Quantity) -> tuple[float, float]:
        """Least and greatest bound of a quantity over the part (found by local search)."""
        part = self.part.space

        def bound(population: Population) -> Vector:
            return quantity(self.part.embed(population)).bound

        _, least = descend(part, bound, part.smallest())
        _, greatest = descend(part, lambda population: -bound(population), part.largest())
        return least, -greatest

    def check_feasible(self) -> None:
        """Look at every limit alone before anything is searched.

        Raises:
            InfeasibleError: a limit that no architecture keeps, with the least reachable value.
        """
        for limit in self.limits:
            quantity, most = limit.quantity, limit.most
            least = self._least(quantity, most)
            if least > most:
                sure, name = quantity.coverage, self.part.space.name
                words = "has" if sure is None else f"is predicted, {sure:.0%} sure, at"
                raise InfeasibleError(
                    f"no architecture of {name} with {quantity.name} under "
                    f"{f'{most:.4g} {quantity.unit}'.strip()}; the least one {words} "
                    f"{f'{least:.4g} {quantity.unit}'.strip()}"
                )

    def _least(self, quantity: Quantity, enough: float) -> float:
        """Return the least bound of a quantity over the part: by descent from both ends and, while
        that is not enough, from the best of a sample.
        """
        part = self.part.space

        def bound(population: Population) -> Vector:
            return quantity(self.part.embed(population)).bound

        least = np.inf
        for start in (part.smallest(), part.largest()):
            least = min(least, descend(part, bound, start)[1])
            if least <= enough:
                return least
        sample = part.sample_levels(STARTS, np.random.default_rng(0))
        best = np.argsort(_or_inf(bound(sample)), kind="stable")[:1]
        return min(least, descend(part, bound, sample[best])[1])

    def feasible_start(self) -> Population | None:
        """Return an architecture of the part that keeps all limits, `1 x d`; None if none was
        found by descending from both ends.
        """
        part = self.part.space
        for start in (part.smallest(), part.largest()):
            genome, excess = descend(part, lambda p: self.violations(self.part.embed(p)), start)
            if excess == 0:
                return genome
        return None

    def describe_limits(self) -> str:
        """Return the limits in words."""
        return ", ".join(map(str, self.limits)) or "no limits"


def descend(
    space: SearchSpace, value: Callable[[Population], Vector], start: Population
) -> tuple[Population, float]:
    """Return the architecture (`1 x d`) of the least `value` that steepest descent over neighbours
    finds from `start`, and that value; what is no number is never the least.
    """
    best, best_value = start, float(_or_inf(value(start))[0])
    for _ in range(MAX_DESCENT_STEPS):
        neighbours = space.neighbours(best)
        if not len(neighbours):
            break
        values = _or_inf(value(neighbours))
        least = int(values.argmin())
        if not values[least] < best_value:
            break
        best, best_value = neighbours[least : least + 1], float(values[least])
    return best, best_value


def _or_inf(values: Vector) -> Vector:
    return np.where(np.isnan(values), np.inf, values)


def estimates(problem: SearchProblem, population: Population) -> dict[str, Estimate]:
    """Return every estimate of n architectures by name."""
    return {name: quantity(population) for name, quantity in problem.quantities().items()}

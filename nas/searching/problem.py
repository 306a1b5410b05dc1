"""What a search minimises and which limits it keeps, for whole populations at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.predictor import Predictor, Vector
from search_spaces import InfeasibleError, InputError, Population, SearchSpace
from search_spaces.part import SpacePart

MAX_DESCENT_STEPS = 500


@dataclass(frozen=True)
class Limits:
    """Upper limits; None is no limit. Those of latency and resident memory hold for the bound of
    `coverage`.
    """

    latency_ms: float | None = None
    macs: float | None = None
    params: float | None = None
    activation_bytes: float | None = None
    resident_bytes: float | None = None  # for its bound, as the latency

    def analytic(self, space: SearchSpace, population: Population) -> list[tuple[float, Vector]]:
        """Return each limit that needs no latency, beside the n values it limits."""
        costs = space.layers.costs(population)
        pairs = [
            (self.macs, costs.macs),
            (self.params, costs.num_params),
            (self.activation_bytes, costs.activation_bytes),
        ]
        return [(limit, values) for limit, values in pairs if limit is not None]

    def keeps_analytic(self, space: SearchSpace, population: Population) -> npt.NDArray[np.bool_]:
        """Tell which architectures keep the limits that need no latency, n."""
        kept = np.ones(len(population), dtype=np.bool_)
        for limit, values in self.analytic(space, population):
            kept &= values <= limit
        return kept


@dataclass(frozen=True)
class Evaluation:
    """n architectures: predicted loss (lower is better), latency in ms and its upper bound."""

    loss: Vector
    latency_ms: Vector
    latency_upper_ms: Vector
    violations: Vector  # 0 where every limit is kept, else by which share they are exceeded

    @property
    def objectives(self) -> npt.NDArray[np.float64]:
        """What the search minimises: predicted loss and latency, n x 2."""
        return np.stack([self.loss, self.latency_ms], axis=1)


class SearchProblem:
    """Predicted loss and latency under limits.

    Args:
        part: where to search.
        loss: predicts what is lower for better subnets (error, or cross-entropy).
        latency: predicts milliseconds.
        coverage: of the upper bounds of latency and resident memory, which are limited.
        memory: predicts resident bytes; needed where they are limited.
    """

    def __init__(
        self,
        part: SpacePart,
        loss: Predictor,
        latency: Predictor,
        limits: Limits,
        coverage: float,
        memory: Predictor | None = None,
    ) -> None:
        self.part, self.space = part, part.whole
        self.limits = limits
        self._loss, self._latency, self._coverage = loss, latency, coverage
        self._memory = memory

    def evaluate(self, population: Population) -> Evaluation:
        """Predict everything for `n x d` architectures."""
        latency = self._latency.predict(population)
        upper = latency.upper(self._coverage)
        excess = np.zeros(len(population))
        limited = self.limits.analytic(self.space, population)
        if self.limits.latency_ms is not None:
            limited.append((self.limits.latency_ms, upper))
        if self.limits.resident_bytes is not None:
            limited.append((self.limits.resident_bytes, self.resident_upper_bytes(population)))
        for limit, values in limited:
            excess += np.maximum(values / limit - 1, 0)
        return Evaluation(self._loss.predict(population).mean, latency.mean, upper, excess)

    def latency_upper_ms(self, population: Population) -> Vector:
        """Upper bound of the latency alone, n."""
        return self._latency.predict(population).upper(self._coverage)

    def resident_upper_bytes(self, population: Population) -> Vector:
        """Upper bound of the resident memory, n."""
        if self._memory is None:
            raise InputError(
                "the profile holds no resident memory, so it cannot be limited; measure it on a "
                "device that tells (Linux), or limit --max-activation-bytes"
            )
        return self._memory.predict(population).upper(self._coverage)

    def reachable_latency_ms(self) -> tuple[float, float]:
        """Least and greatest upper bound of the latency over the part (found by local search)."""
        least = self._least(self.latency_upper_ms)
        greatest = descend(
            self.part.space,
            lambda p: -self.latency_upper_ms(self.part.embed(p)),
            self.part.space.largest(),
        )
        return least, -greatest

    def _least(self, value: Callable[[Population], Vector]) -> float:
        part = self.part.space
        return descend(part, lambda p: value(self.part.embed(p)), part.smallest())

    def check_feasible(self) -> None:
        """Look at every limit alone before anything is searched.

        Raises:
            InfeasibleError: a limit that no architecture keeps, with the least reachable value.
        """
        grid = self.space.layers
        checks: list[tuple[float | None, Callable[[Population], Vector], str]] = [
            (self.limits.latency_ms, self.latency_upper_ms, "ms"),
            (self.limits.macs, lambda p: grid.costs(p).macs, "MACs"),
            (self.limits.params, lambda p: grid.costs(p).num_params, "parameters"),
            (self.limits.activation_bytes, lambda p: grid.costs(p).activation_bytes, "bytes"),
            (self.limits.resident_bytes, self.resident_upper_bytes, "resident bytes"),
        ]
        for limit, value, unit in checks:
            if limit is None:
                continue
            least = self._least(value)
            if least > limit:
                guessed = unit in ("ms", "resident bytes")
                words = f"is predicted, {self._coverage:.0%} sure, at" if guessed else "has"
                raise InfeasibleError(
                    f"no architecture of {self.part.space.name} under {limit:.4g} {unit}; "
                    f"the least one {words} {least:.4g} {unit}"
                )


def descend(space: SearchSpace, value: Callable[[Population], Vector], start: Population) -> float:
    """Return the least `value` found by steepest descent over neighbours from `start` (`1 x d`)."""
    best, best_value = start, float(value(start)[0])
    for _ in range(MAX_DESCENT_STEPS):
        neighbours = space.neighbours(best)
        if not len(neighbours):
            break
        values = value(neighbours)
        least = int(values.argmin())
        if values[least] >= best_value:
            break
        best, best_value = neighbours[least : least + 1], float(values[least])
    return best_value

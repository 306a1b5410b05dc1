"""What a search minimises or limits: one number of each architecture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

import numpy as np

from predictors.predictor import Predictor, Vector
from search_spaces import InputError, Population, SearchSpace
from search_spaces.python_name import call, python_function


@dataclass(frozen=True)
class Estimate:
    """n architectures: a guess or an exact value, and the bound that a limit is held against."""

    value: Vector  # n
    bound: Vector  # n; the value itself where it is exact


Estimator = Callable[[Population], Estimate]
T = TypeVar("T")

MANY = 8  # architectures at which a function that works would not fail throughout


@dataclass(frozen=True)
class Quantity:
    """One number of architectures, lower is better.

    Args:
        name: "loss", "latency_ms", "latency_ms@pixel3", "macs", ...
        unit: for messages.
        estimate: of a whole population at once; None where only a measurement tells.
        coverage: how sure the bound is, where the value is a guess.
    """

    name: str
    unit: str
    estimate: Estimator | None
    coverage: float | None = None

    @property
    def is_measured(self) -> bool:
        """Tell whether only a measurement tells it."""
        return self.estimate is None

    @property
    def is_exact(self) -> bool:
        """Tell whether it is a formula: neither guessed nor measured."""
        return not self.is_measured and self.coverage is None

    def __call__(self, population: Population) -> Estimate:
        """Estimate n architectures."""
        if self.estimate is None:
            raise AssertionError(f"{self.name} has to be measured")
        return self.estimate(population)


def predicted(name: str, unit: str, predictor: Predictor, coverage: float) -> Quantity:
    """Return a quantity that a predictor guesses; its bound holds with probability `coverage`."""

    def estimate(population: Population) -> Estimate:
        prediction = predictor.predict(population)
        return Estimate(prediction.mean, prediction.upper(coverage))

    return Quantity(name, unit, Remembered(estimate), coverage)


def measured(name: str, unit: str = "") -> Quantity:
    """Return a quantity that only a measurement tells."""
    return Quantity(name, unit, None)


def analytic(space: SearchSpace) -> dict[str, Quantity]:
    """Return MACs, parameters and peak activation memory by name: formulas, exact."""
    costs = Remembered(space.layers.costs)

    def of(name: str) -> Estimator:
        return lambda population: exact(getattr(costs(population), name))

    return {
        "macs": Quantity("macs", "MACs", of("macs")),
        "params": Quantity("params", "parameters", of("num_params")),
        "activation_bytes": Quantity("activation_bytes", "bytes", of("activation_bytes")),
    }


def of_function(name: str, space: SearchSpace) -> Quantity:
    """Return the quantity of a user's function (`python:module:function`).

    It is called as `function(space, population)` and returns n numbers, lower is better. Where it
    raises, it is asked for one architecture at a time, and those at which it raises count as
    failed; where it raises for all of many, it never works.

    Raises:
        InputError: no such function; later, from estimates: another number of values.
    """
    function = python_function(name)

    def values(population: Population) -> Vector:
        found = call(name, function, space, population)
        try:
            answer = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            answer = np.zeros(0)
        if answer.shape != (len(population),):
            raise InputError(
                f"{name}: expected one number for each of {len(population)} architectures, "
                f"got {str(found)[:60]}"
            )
        return answer

    def one(row: Population) -> float:
        try:
            return float(values(row[None])[0])
        except InputError:
            return float("nan")

    def estimate(population: Population) -> Estimate:
        try:
            return exact(values(population))
        except InputError:
            found = np.array([one(row) for row in population])
            if len(found) >= MANY and np.isnan(found).all():
                raise
            return exact(found)

    return Quantity(name, "", Remembered(estimate))


def worst_case(quantities: Sequence[tuple[Quantity, float]]) -> Quantity:
    """Return the greatest of several quantities, each as a share of its own budget."""

    def estimate(population: Population) -> Estimate:
        found = [(quantity(population), budget) for quantity, budget in quantities]
        return Estimate(
            reduce(np.maximum, [one.value / budget for one, budget in found]),
            reduce(np.maximum, [one.bound / budget for one, budget in found]),
        )

    return Quantity("worst_share", "of the budget", estimate, quantities[0][0].coverage)


def exact(values: Vector) -> Estimate:
    """Return values that are no guesses: each is its own bound."""
    return Estimate(values, values)


class Remembered(Generic[T]):
    """Answers again for the same array: objectives and limits ask for one population in turn."""

    def __init__(self, function: Callable[[Population], T]) -> None:
        self._function = function
        self._last: tuple[Population, T] | None = None

    def __call__(self, population: Population) -> T:
        """Return what the function says of these architectures."""
        if self._last is None or self._last[0] is not population:
            self._last = population, self._function(population)
        return self._last[1]

"""What a search under one budget is made of: devices, predictors, objectives, limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.artifact import content_hash, file_hash
from hardware_profiles.store import profile_path
from nas.artifacts import fitted_accuracy, fitted_latency, supernet_hash
from nas.config import LIMITED, OBJECTIVES, SearchConfig, check_budget
from nas.device import Device, run_device
from nas.fitted_latency import FittedLatency
from nas.fitted_predictors import FittedAccuracy
from nas.run_directory import Run
from nas.searching.problem import Limit, SearchProblem
from nas.searching.quantity import (
    Quantity,
    analytic,
    measured,
    of_function,
    predicted,
    worst_case,
)
from predictors.linear_in_costs import LinearInCosts, fit_energy, fit_memory
from predictors.predictor import Vector
from search_spaces import InputError, Population, unknown_name
from search_spaces.part import SpacePart
from search_spaces.python_name import is_python_name, source_sha256

LATENCY = "latency_ms"


@dataclass(frozen=True)
class Destination:
    """One device that a search is for, with its latency predictor and its budget."""

    device: Device
    latency: FittedLatency
    reachable_ms: tuple[float, float]
    budget_ms: float


@dataclass(frozen=True)
class SearchSetting:
    """Everything that decides what a search finds, with budgets resolved to milliseconds."""

    run: Run
    config: SearchConfig
    accuracy: FittedAccuracy
    part: SpacePart
    main: Destination  # where finalists are measured, if it is this machine
    also: Mapping[str, Destination]  # other devices by name: predicted only

    @property
    def budget_ms(self) -> float:
        """The budget on the main device."""
        return self.main.budget_ms

    @property
    def device(self) -> Device:
        """The main device."""
        return self.main.device

    @property
    def latency(self) -> FittedLatency:
        """The latency predictor of the main device."""
        return self.main.latency

    def problem(
        self, extra: tuple[Population, Vector] | None = None, predicted_only: bool = False
    ) -> SearchProblem:
        """Return what to search, on a latency predictor that has also learnt from `extra` measured
        subnets (n x d and n ms).

        Args:
            predicted_only: whether quality is predicted even where the search measures it.

        Raises:
            InputError: an unknown objective, a function that is not there, or a quantity that the
                device's profile does not tell.
        """
        known = self._quantities(extra, predicted_only)
        latencies = {
            known[name]: one.budget_ms
            for name, one in zip(
                self._latency_names(), [self.main, *self.also.values()], strict=True
            )
        }
        loss = self.accuracy.quantity
        objectives, reference = [known[loss]], [float(self.accuracy.measured.max())]
        for name in self.config.objectives:
            if name == LATENCY and self.config.worst_case:
                objectives.append(worst_case(list(latencies.items())))
                reference.append(1.0)
            elif name == LATENCY:
                objectives += latencies
                reference += latencies.values()
            else:
                objectives.append(self._quantity(known, name))
                reference.append(SearchProblem(self.part, objectives).largest(objectives[-1]))
        limits = [Limit(quantity, budget) for quantity, budget in latencies.items()]
        limits += [Limit(self._quantity(known, n), most) for n, most in self.limits().items()]
        return SearchProblem(self.part, objectives, limits, reference)

    def limits(self) -> dict[str, float]:
        """Return the limits beside latencies that are set, by quantity."""
        given = {name: getattr(self.config, f"max_{name}") for name in LIMITED}
        return {k: v for k, v in given.items() if v is not None} | dict(self.config.limits)

    def _latency_names(self) -> list[str]:
        return [LATENCY, *(f"{LATENCY}@{name}" for name in self.also)]

    def _quantities(
        self, extra: tuple[Population, Vector] | None, predicted_only: bool
    ) -> dict[str, Quantity]:
        coverage, loss = self.config.coverage, self.accuracy.quantity
        learnt = self.latency.predictor if extra is None else self.latency.refitted(extra)
        predictors = [learnt, *(one.latency.predictor for one in self.also.values())]
        known = {
            name: predicted(name, "ms", predictor, coverage)
            for name, predictor in zip(self._latency_names(), predictors, strict=True)
        }
        known[loss] = (
            measured(loss)
            if self.config.measured_evaluations and not predicted_only
            else predicted(loss, "", self.accuracy.predictor, coverage)
        )
        profile, space = self.device.profile, self.run.space
        fitted: dict[str, LinearInCosts | None] = {
            "resident_bytes": fit_memory(space, profile),
            "energy_mj": fit_energy(space, profile),
        }
        for name, predictor in fitted.items():
            if predictor is not None:
                unit = name.replace("_", " ")
                known[name] = predicted(name, unit, predictor, coverage)
        return known | analytic(space)

    def _quantity(self, known: Mapping[str, Quantity], name: str) -> Quantity:
        if is_python_name(name):
            return of_function(name, self.run.space)
        if name in known:
            return known[name]
        if name == "resident_bytes":
            raise InputError(
                "the profile holds no resident memory, so it cannot be limited; measure it on a "
                "device that tells (Linux), or limit --max-activation-bytes"
            )
        if name == "energy_mj":
            raise InputError(
                "the profile holds no energy, so it cannot be searched for; measure it on an "
                "NVIDIA GPU (pip install 'supernet-engine[energy]')"
            )
        raise unknown_name("objective", name, OBJECTIVES)

    def made_from(self) -> dict[str, object]:
        """Return hashes of everything that the result follows from."""
        settings = self.config.replaced({"budget": self.budget_ms}).model_dump(mode="json")
        functions = [n for n in (*self.config.objectives, *self.config.limits) if is_python_name(n)]
        return {
            "supernet": supernet_hash(self.run),
            "profile": self.device.profile_sha256,
            "target": self.device.target.id,
            "measured": self.device.runtime is not None,
            "accuracy_samples": file_hash(self.run.accuracy_samples.path),
            "search": content_hash(settings),
            "seed": self.run.recipe.seed,
            **{f"known {name}": file_hash(profile_path(name)) for name in self.latency.known},
            **{f"profile of {name}": one.device.profile_sha256 for name, one in self.also.items()},
            **{name: source_sha256(name) for name in functions},
        }

    def search_hash(self) -> str:
        """Return the hash of all that decides the search, by which its measurements are known."""
        return content_hash(self.made_from())

    def result_path(self) -> Path:
        """Return the file of the result: one for each budget, objectives, limits and devices."""
        others: dict[str, object] = dict(self.limits())
        defaults = SearchConfig()
        for name in ("device", "also", "objectives", "worst_case", "measured_evaluations"):
            value = getattr(self.config, name)
            if value != getattr(defaults, name):
                others[name] = value
        suffix = f"-{content_hash(others)[:6]}" if others else ""
        return self.run.search_path / "budgets" / f"{self.budget_ms}ms{suffix}.json"


def search_setting(run: Run, config: SearchConfig) -> SearchSetting:
    """Load the devices' profiles, fit the predictors, and resolve the budgets.

    Raises:
        InputError: a bad budget; no such profile, or one that does not serve this run; devices
            whose profiles cover different parts of the space.
    """
    device = run_device(run, config.device)
    part = SpacePart(run.space, device.profile.options)
    others = {name: run_device(run, name) for name in config.also}
    for name, other in others.items():
        if other.profile.options and dict(other.profile.options) != dict(device.profile.options):
            raise InputError(
                f"{name}: expected a profile of the whole space or of the main device's part, got "
                f"one of {', '.join(other.profile.options)} only"
            )
    return SearchSetting(
        run=run,
        config=config,
        accuracy=fitted_accuracy(run),
        part=part,
        main=_destination(run, config, part, device, config.budget),
        also={
            name: _destination(run, config, part, others[name], budget)
            for name, budget in config.also.items()
        },
    )


def _destination(
    run: Run, config: SearchConfig, part: SpacePart, device: Device, budget: float | str
) -> Destination:
    check_budget(budget)
    latency = fitted_latency(run, device)
    quantity = predicted(LATENCY, "ms", latency.predictor, config.coverage)
    reachable = SearchProblem(part, [quantity]).range_of(quantity)
    return Destination(device, latency, reachable, resolve_budget(budget, reachable))


def resolve_budget(budget: float | str, reachable_ms: tuple[float, float]) -> float:
    """Turn a share of the reachable range ("50%") into milliseconds, to four digits."""
    if isinstance(budget, str) and budget.endswith("%"):
        least, greatest = reachable_ms
        exact = least + float(budget[:-1]) / 100 * (greatest - least)
        rounded = float(f"{exact:.4g}")
        return rounded if rounded >= least else float(f"{exact * 1.0005:.4g}")
    return float(budget)

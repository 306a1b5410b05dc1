"""What a search under one budget is made of: device, predictors, limits."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hardware_profiles.artifact import content_hash, file_hash
from hardware_profiles.store import profile_path
from nas.artifacts import fitted_accuracy, fitted_latency, supernet_hash
from nas.config import SearchConfig, check_budget
from nas.device import Device, run_device
from nas.fitted_latency import FittedLatency
from nas.fitted_predictors import FittedAccuracy
from nas.run_directory import Run
from nas.searching.problem import Limits, SearchProblem
from predictors.memory import MemoryPredictor, fit_memory
from predictors.predictor import Vector
from search_spaces import Population
from search_spaces.part import SpacePart


@dataclass(frozen=True)
class SearchSetting:
    """Everything that decides what a search finds, with the budget resolved to milliseconds."""

    run: Run
    config: SearchConfig
    device: Device
    accuracy: FittedAccuracy
    latency: FittedLatency
    memory: MemoryPredictor | None
    part: SpacePart
    limits: Limits
    reachable_ms: tuple[float, float]

    @property
    def budget_ms(self) -> float:
        """The budget."""
        assert self.limits.latency_ms is not None
        return self.limits.latency_ms

    def problem(self, extra: tuple[Population, Vector] | None = None) -> SearchProblem:
        """Return what to search, on a latency predictor that has also learnt from `extra` measured
        subnets (n x d and n ms).
        """
        predictor = self.latency.predictor if extra is None else self.latency.refitted(extra)
        return SearchProblem(
            self.part,
            self.accuracy.predictor,
            predictor,
            self.limits,
            self.config.coverage,
            self.memory,
        )

    def other_limits(self) -> dict[str, float]:
        """Return the limits beside the latency that are set, by name."""
        named = asdict(self.limits).items()
        return {k: v for k, v in named if k != "latency_ms" and v is not None}

    def made_from(self) -> dict[str, object]:
        """Return hashes of everything that the result follows from."""
        settings = self.config.replaced({"budget": self.budget_ms}).model_dump(mode="json")
        return {
            "supernet": supernet_hash(self.run),
            "profile": self.device.profile_sha256,
            "target": self.device.target.id,
            "measured": self.device.runtime is not None,
            "accuracy_samples": file_hash(self.run.accuracy_samples.path),
            "search": content_hash(settings),
            "seed": self.run.recipe.seed,
            **{f"known {name}": file_hash(profile_path(name)) for name in self.latency.known},
        }

    def result_path(self) -> Path:
        """Return the file of the result: one for each budget, set of limits and device."""
        others: dict[str, object] = dict(self.other_limits())
        if self.config.device is not None:
            others["device"] = self.config.device
        suffix = f"-{content_hash(others)[:6]}" if others else ""
        return self.run.search_path / "budgets" / f"{self.budget_ms}ms{suffix}.json"


def search_setting(run: Run, config: SearchConfig) -> SearchSetting:
    """Load the device's profile, fit the predictors, and resolve the budget.

    Raises:
        InputError: a bad budget; no such profile, or one that does not serve this run.
    """
    check_budget(config.budget)
    device = run_device(run, config.device)
    setting = SearchSetting(
        run=run,
        config=config,
        device=device,
        accuracy=fitted_accuracy(run),
        latency=fitted_latency(run, device),
        memory=fit_memory(run.space, device.profile),
        part=SpacePart(run.space, device.profile.options),
        limits=Limits(
            macs=config.max_macs,
            params=config.max_params,
            activation_bytes=config.max_activation_bytes,
            resident_bytes=config.max_resident_bytes,
        ),
        reachable_ms=(0.0, 0.0),
    )
    reachable_ms = setting.problem().reachable_latency_ms()
    budget_ms = resolve_budget(config.budget, reachable_ms)
    limits = replace(setting.limits, latency_ms=budget_ms)
    return replace(setting, limits=limits, reachable_ms=reachable_ms)


def resolve_budget(budget: float | str, reachable_ms: tuple[float, float]) -> float:
    """Turn a share of the reachable range ("50%") into milliseconds, to four digits."""
    if isinstance(budget, str) and budget.endswith("%"):
        least, greatest = reachable_ms
        exact = least + float(budget[:-1]) / 100 * (greatest - least)
        rounded = float(f"{exact:.4g}")
        return rounded if rounded >= least else float(f"{exact * 1.0005:.4g}")
    return float(budget)

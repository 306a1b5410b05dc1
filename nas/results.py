"""What the stages return, and the files of it: one schema each."""

from collections.abc import Mapping
from typing import Any, Literal

from hardware_profiles.artifact import Artifact, Frozen
from hardware_profiles.target import Target

WeightsKind = Literal["inherited", "fine-tuned"]  # of an exported subnet


def metric_text(metric: str, value: float, decimals: int = 2) -> str:
    """Return a value of a metric as it is shown: accuracy in percent, others as numbers."""
    return f"{value:.{decimals}%}" if metric == "accuracy" else f"{value:.4g}"


class Winner(Frozen):
    """A subnet that was exported, proven equal and measured.

    Accuracies are of the run's metric: fractions, where it is "accuracy"; greater is better.
    """

    architecture_id: str
    model_path: str
    validation_accuracy: float
    test_accuracy: float
    predicted_latency_ms: float
    measured_latency_ms: float
    noise: float  # (typical pass - latency) / latency; the typical pass is within the budget
    kept: bool
    metric: str = "accuracy"  # what the accuracies measure
    weights: WeightsKind = "inherited"


class FrontMember(Frozen):
    """One architecture of a front; `measured` is empty where it was not measured."""

    architecture_id: str
    values: Mapping[str, int | float | str | bool]
    costs: Mapping[str, int]
    predicted: Mapping[str, float]
    measured: Mapping[str, float]


class ClosestMiss(Frozen):
    """The fastest measured subnet of a search that found none within the budget."""

    architecture_id: str
    measured_latency_ms: float
    noise: float
    validation_accuracy: float
    metric: str = "accuracy"


class Candidate(Frozen):
    """The best subnet that is predicted to keep the budget of a device that is not here.

    Exported and proven equal, but not measured.
    """

    architecture_id: str
    model_path: str
    validation_accuracy: float
    test_accuracy: float
    predicted_latency_ms: float
    predicted_upper_ms: float  # the bound of the search's coverage
    metric: str = "accuracy"
    weights: WeightsKind = "inherited"


class Front(Artifact):
    """`search/front.json`: the predicted front of the last search."""

    kind: Literal["front"] = "front"
    format: int = 2
    space: str
    budget_ms: float
    members: tuple[FrontMember, ...]
    made_from: Mapping[str, Any]


class AlsoDevice(Frozen):
    """A further device of a search: predicted for, not measured on."""

    target: Target
    budget_ms: float
    reachable_ms: tuple[float, float]
    predicted_ms: float | None = None  # of what was found
    predicted_upper_ms: float | None = None


class SearchResult(Artifact):
    """`search/budgets/*.json`: what one search under one budget gave."""

    kind: Literal["search-result"] = "search-result"
    format: int = 4
    space: str
    searcher: str
    objectives: tuple[str, ...]
    measured_objectives: tuple[str, ...] = ()  # the others are predicted
    budget_ms: float
    limits: Mapping[str, float]  # the others that were set
    reachable_ms: tuple[float, float]  # least and greatest predicted upper bound
    also: Mapping[str, AlsoDevice] = {}
    coverage: float
    predicted_quantity: Literal["error", "loss"]
    metric: str = "accuracy"  # the error is 1 - metric
    winner: Winner | None
    closest_miss: ClosestMiss | None
    candidate: Candidate | None = None  # instead of a winner, where the device is elsewhere
    target: Target
    device: str | None = None  # the known profile that was asked for, instead of the run's own
    front: tuple[FrontMember, ...]
    notes: tuple[str, ...] = ()  # of the searcher, and why it ended
    stopped: str = "evaluations"
    evaluations: int  # distinct architectures that were evaluated
    failed: int = 0  # of them
    measurements: int  # subnets measured so far in the run, on this target
    rounds: int
    hypervolume: float
    hypervolume_reference: tuple[float, ...]  # of each objective
    made_from: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return what `nas search --json` prints."""
        names = {"budget_ms", "metric", "winner", "closest_miss", "candidate", "target", "front"}
        names |= {"evaluations", "failed", "hypervolume", "searcher", "objectives", "notes", "also"}
        return self.model_dump(mode="json", include=names)


class RunResult(Frozen):
    """What `nas run` gives."""

    run: str
    budget_ms: float
    metric: str = "accuracy"
    target: Target
    winner: Winner | None
    closest_miss: ClosestMiss | None
    candidate: Candidate | None = None
    front_path: str
    report_path: str
    seconds: Mapping[str, float]


class ExportResult(Frozen):
    """What `nas export` gives for one subnet."""

    directory: str
    files: Mapping[str, str]  # SHA-256 by name
    parity: Mapping[str, Mapping[str, float | None]]
    measured_latency_ms: float
    weights: WeightsKind = "inherited"
    models: Mapping[str, Mapping[str, Any]] = {}  # as the manifest has them
    engines: Mapping[str, Mapping[str, Any]] = {}  # TensorRT's, likewise
    metric: str = "accuracy"  # what the accuracies measure
    precisions: tuple[Mapping[str, Any], ...] = ()  # side by side, where they were asked for
    recommended: str | None = None  # of those
    reason: str = ""  # why

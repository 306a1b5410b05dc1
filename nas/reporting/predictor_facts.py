"""How wrong the predictors of a run are on subnets they had not seen."""

from dataclasses import dataclass

import numpy as np

from hardware_profiles.profile import Profile
from nas.artifacts import fitted_accuracy
from nas.config import TaskConfig
from nas.fitted_latency import FittedLatency, fit_latency
from nas.fitted_predictors import FittedAccuracy, PredictorFile, quantity_name
from nas.known_targets import known_targets
from nas.run_directory import Run
from predictors.predictor import ErrorReport, Vector
from search_spaces import InputError


@dataclass(frozen=True)
class Quantity:
    """What a predictor predicts, and how it is shown: the stored value times `scale`, in `unit`."""

    name: str
    unit: str
    scale: float

    def label(self, words: str) -> str:
        """Return an axis label: the quantity, whether measured or predicted, and its unit."""
        return f"{self.name}, {words} ({self.unit})" if self.unit else f"{self.name}, {words}"


def validation_quantity(metric: str) -> Quantity:
    """Return a metric on validation samples; accuracy is in percent."""
    percent = metric == "accuracy"
    return Quantity(f"validation {metric}", "%" if percent else "", 100.0 if percent else 1.0)


def quantities(task: TaskConfig) -> dict[str, Quantity]:
    """Return what predictors of a task predict, by the name in files."""
    percent = task.metric_name == "accuracy"
    nats = "nats" if task.loss_name == "cross-entropy" else ""
    return {
        "error": Quantity(
            f"validation {quantity_name('error', task)}",
            "%" if percent else "",
            100.0 if percent else 1.0,
        ),
        "loss": Quantity(f"validation {quantity_name('loss', task)}", nats, 1.0),
        "latency_ms": Quantity("latency", "ms", 1.0),
    }


@dataclass(frozen=True)
class PredictorFacts:
    """A predictor's stated error, and n guesses of subnets it had not seen beside the truth."""

    quantity: Quantity
    file: PredictorFile
    report: ErrorReport
    predicted: Vector  # n; empty where it could not be fitted again
    measured: Vector  # n
    problem: str | None  # why it could not

    @property
    def restated(self) -> bool:
        """Tell whether the file states another error than its predictor has now."""
        stated, found = self.file.error, self.report
        return stated.n != found.n or f"{stated.mape:.3f}" != f"{found.mape:.3f}"


def accuracy_facts(run: Run) -> tuple[FittedAccuracy | None, PredictorFacts | None]:
    """Return the accuracy predictor of a run and its facts; None where it is not fitted yet."""
    path = run.predictors_path / "accuracy.json"
    if not path.exists():
        return None, None
    file = PredictorFile.load(path)
    try:
        fitted = fitted_accuracy(run)
    except InputError as error:
        return None, _not_fitted(run, file, error)
    return fitted, _fitted(run, file, fitted.quantity, fitted)


def latency_facts(run: Run, profile: Profile | None) -> PredictorFacts | None:
    """Return the facts of the latency predictor of a run; None where it is not fitted yet."""
    path = run.predictors_path / "latency.json"
    if not path.exists():
        return None
    file = PredictorFile.load(path)
    if profile is None:
        return _not_fitted(run, file, f"{run.profile_path} is gone")
    try:
        # not `fitted_latency`, which refuses other machines' profiles: a report may be made there
        known = known_targets(run.space, profile)
        fitted = fit_latency(run.space, profile, run.recipe.profile.predictor, known)
        return _fitted(run, file, "latency_ms", fitted)
    except InputError as error:
        return _not_fitted(run, file, error)


def _fitted(
    run: Run, file: PredictorFile, quantity: str, fitted: FittedAccuracy | FittedLatency
) -> PredictorFacts:
    return PredictorFacts(
        quantity=quantities(run.recipe.task)[quantity],
        file=file,
        report=fitted.report,
        predicted=fitted.held_out_prediction,
        measured=fitted.measured,
        problem=None,
    )


def _not_fitted(run: Run, file: PredictorFile, reason: object) -> PredictorFacts:
    known = quantities(run.recipe.task)
    quantity = known.get(file.predicts, Quantity(file.predicts, "", 1.0))
    return PredictorFacts(quantity, file, file.error, np.zeros(0), np.zeros(0), str(reason))

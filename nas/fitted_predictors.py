"""Both predictors of a run, fitted on what was measured, with their stated error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from sklearn.model_selection import KFold

from hardware_profiles.artifact import Artifact
from nas.config import TaskConfig
from nas.subnet.sample import AccuracySamples, Quantity
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.encodings import Encoding
from predictors.predictor import (
    ErrorReport,
    Predictor,
    Vector,
    error_report,
)
from search_spaces import SearchSpace, unknown_name

FOLDS = 5


class PredictorFile(Artifact):
    """`predictors/*.json`: what a predictor was made from and how wrong it is. It is refitted on
    load.
    """

    kind: Literal["predictor"] = "predictor"
    format: int = 2
    predicts: str
    predictor: str
    seed: int
    samples: int
    made_from: Mapping[str, str]
    error: ErrorReport
    notes: Mapping[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class FittedAccuracy:
    """Predicts what is lower for better subnets: the error (1 - metric), or the loss."""

    predictor: Predictor
    quantity: Quantity
    report: ErrorReport
    held_out_prediction: Vector  # n, each by a predictor that had not seen the subnet
    measured: Vector  # n
    repeatability: dict[str, float]  # Kendall between halves of the validation set


def fit_accuracy(
    space: SearchSpace,
    samples: AccuracySamples,
    name: str,
    seed: int,
    features: Encoding | None = None,
) -> FittedAccuracy:
    """Fit the accuracy predictor on all samples; its error comes from 5-fold cross-validation.

    `features` are further columns that it sees. It learns whichever of error and loss repeats
    better between the halves of the validation set; that repeatability is reported as its ceiling.
    """
    if name not in ACCURACY_PREDICTORS:
        raise unknown_name("accuracy predictor", name, ACCURACY_PREDICTORS)
    repeatability = samples.repeatability()
    quantity, measured = samples.quantity()
    build = ACCURACY_PREDICTORS[name]
    costs = space.layers.costs(samples.population)
    known = {"macs": costs.macs, "num_params": costs.num_params}
    predicted = np.empty(len(measured))
    guesses = {key: np.empty(len(measured)) for key in ("constant", *known)}
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(measured):
        predictor = build(space, seed, features)
        predictor.fit(samples.population[train], measured[train])
        predicted[test] = predictor.predict(samples.population[test]).mean
        guesses["constant"][test] = np.median(measured[train])
        for key, cost in known.items():
            line = np.polyfit(np.log(cost[train]), measured[train], 1)
            guesses[key][test] = np.polyval(line, np.log(cost[test]))
    final = build(space, seed, features)
    final.fit(samples.population, measured)
    report = error_report(
        predicted,
        measured,
        ceiling=repeatability["loss" if quantity == "loss" else "accuracy"],
        baselines={key: error_report(guess, measured) for key, guess in guesses.items()},
    )
    return FittedAccuracy(final, quantity, report, predicted, measured, repeatability)


def quantity_name(quantity: Quantity, task: TaskConfig) -> str:
    """Return what the predicted quantity is called on screen."""
    if quantity == "loss":
        return task.loss_name
    return "error" if task.metric_name == "accuracy" else f"1 - {task.metric_name}"


def describe_error(name: str, unit: str, report: ErrorReport) -> list[str]:
    """Say how wrong a predictor is on unseen subnets, and below it the trivial baselines."""
    lines = [f"{name} on {report.n} unseen subnets: {_figures(report, unit)}"]
    if report.noise_floor is not None:
        lines[0] += f"; noise of the measurement {report.noise_floor:.1%}"
    if report.ceiling is not None:
        lines[0] += f"; repeatability between halves {report.ceiling:.3f}"
    lines += [
        f"  baseline {key}: {_figures(other, unit)}" for key, other in report.baselines.items()
    ]
    return lines


def no_better_than_costs(report: ErrorReport) -> str | None:
    """Warn where a line through MACs or parameters ranks unseen subnets better."""
    ranks = {
        name: other.kendall
        for name, other in report.baselines.items()
        if name != "constant" and other.kendall is not None
    }
    best = max(ranks, key=lambda name: ranks[name], default=None)
    if best is None or report.kendall is None or report.kendall >= ranks[best]:
        return None
    return f"  warning: {best} alone ranks better; raise accuracy.num_subnets, or train longer"


def _figures(report: ErrorReport, unit: str) -> str:
    tau = "   n/a" if report.kendall is None else f"{report.kendall:6.3f}"
    rho = "   n/a" if report.spearman is None else f"{report.spearman:6.3f}"
    size = f"MAPE {report.mape:6.1%}" if unit == "ms" else f"RMSE {report.rmse:.3g}"
    return f"Kendall {tau}, Spearman {rho}, {size}"

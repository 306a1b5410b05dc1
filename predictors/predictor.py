"""What a predictor is, what it answers, and how its error is stated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, norm, spearmanr

from hardware_profiles.artifact import Frozen
from search_spaces import InputError, Population

Vector = npt.NDArray[np.float64]  # n


@dataclass(frozen=True)
class Prediction:
    """A guess for n architectures.

    `residuals` are (truth - mean) / std on subnets the predictor was not fitted on, from which the
    upper bound takes its coverage; without them it assumes a normal distribution.
    """

    mean: Vector
    std: Vector
    residuals: Vector = field(default_factory=lambda: np.zeros(0))

    def upper(self, coverage: float) -> Vector:
        """Return the value that the truth stays below with probability `coverage`.

        The quantile of the residuals, as in split conformal prediction (arXiv:1604.04173); where
        they are too few for the coverage, their greatest or the normal quantile, whichever is
        higher. Leave-one-out residuals make it a jackknife, whose coverage is approximate.
        """
        if not 0 < coverage < 1:
            raise InputError(f"expected a coverage between 0 and 1, got {coverage}")
        rank = int(np.ceil((len(self.residuals) + 1) * coverage))
        if rank <= len(self.residuals):
            factor = float(np.sort(self.residuals)[rank - 1])
        else:
            factor = max([float(norm.ppf(coverage)), *self.residuals.tolist()])
        return np.asarray(self.mean + factor * self.std, dtype=np.float64)


class Predictor(Protocol):
    """Guesses one quantity of architectures. Call `fit`, then `predict` as often as wanted."""

    def fit(self, population: Population, targets: Vector) -> None:
        """Learn from `n x d` architectures and their n measured values."""

    def predict(self, population: Population) -> Prediction:
        """Guess for a whole population in one call; chunked inside."""


class ErrorReport(Frozen):
    """Error on subnets the predictor has not seen. Shares are fractions; ranks from -1 to 1.

    `baselines` hold the same for trivial predictors of the same subnets.
    """

    n: int
    rmse: float
    mape: float
    within_5: float
    within_10: float
    spearman: float | None  # None where a constant has no rank
    kendall: float | None
    noise_floor: float | None = None  # median excess of the typical pass over the best, a share
    ceiling: float | None = None  # Kendall between two halves of the validation set: what half of
    # it can tell; a predictor judged on the whole set may exceed it
    baselines: Mapping[str, "ErrorReport"] = {}


def error_report(
    predicted: Vector,
    measured: Vector,
    *,
    noise_floor: float | None = None,
    ceiling: float | None = None,
    baselines: Mapping[str, ErrorReport] | None = None,
) -> ErrorReport:
    """Compare n predicted with n measured values."""
    if predicted.shape != measured.shape:
        raise AssertionError(f"{predicted.shape=} is not {measured.shape=}")
    nonzero = measured != 0  # relative to nothing, an error has no size
    relative = np.abs(predicted - measured)[nonzero] / np.abs(measured[nonzero])
    relative = relative if len(relative) else np.zeros(1)
    ranked = len(measured) > 1 and np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return ErrorReport(
        n=len(measured),
        rmse=float(np.sqrt(np.mean((predicted - measured) ** 2))),
        mape=float(relative.mean()),
        within_5=float((relative <= 0.05).mean()),
        within_10=float((relative <= 0.10).mean()),
        spearman=float(spearmanr(predicted, measured).statistic) if ranked else None,
        kendall=kendall(predicted, measured) if ranked else None,
        noise_floor=noise_floor,
        ceiling=ceiling,
        baselines=baselines or {},
    )


def kendall(first: Vector, second: Vector) -> float:
    """Kendall's tau-b of two rankings."""
    return float(kendalltau(first, second).statistic)


def baseline_guesses(
    fitted_on: Mapping[str, Vector], fit_targets: Vector, held_out: Mapping[str, Vector]
) -> dict[str, Vector]:
    """Guess by a constant, and by a line through log(x) for every given x (MACs, parameters):
    of the target's logarithm, or of the target where one is not positive.

    Args:
        fitted_on, held_out: x by name, of the subnets in `fit_targets` and of those to guess.
    """
    num_held_out = len(next(iter(held_out.values())))
    guesses: dict[str, Vector] = {"constant": np.full(num_held_out, np.median(fit_targets))}
    for name, x in fitted_on.items():
        is_positive = bool((fit_targets > 0).all())
        targets = np.log(fit_targets) if is_positive else fit_targets
        slope, intercept = np.polyfit(np.log(x), targets, 1)
        line = intercept + slope * np.log(held_out[name])
        guesses[name] = np.exp(line) if is_positive else line
    return guesses

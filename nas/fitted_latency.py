"""The latency predictor of a device, fitted on its profile, with its stated error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hardware_profiles.profile import Profile
from predictors.latency import LATENCY_PREDICTORS
from predictors.latency.auto import Auto
from predictors.latency.layer_table import LayerTable, layer_table
from predictors.latency.transfer import KnownLatency
from predictors.predictor import (
    ErrorReport,
    Predictor,
    Vector,
    baseline_guesses,
    error_report,
)
from search_spaces import Population, SearchSpace, unknown_name


@dataclass(frozen=True)
class FittedLatency:
    """Predicts milliseconds on the profile's target."""

    predictor: Predictor
    method: str
    reason: str  # why this method, where it was chosen
    report: ErrorReport
    held_out_prediction: Vector  # n subnets, each by a predictor that had not seen it
    measured: Vector  # n
    layer_fill: ErrorReport | None  # where not every layer was measured
    fitted_on: tuple[Population, Vector]
    known: tuple[str, ...]  # targets it could transfer from
    build: Callable[[], Predictor]  # one like it, not fitted

    def refitted(self, extra: tuple[Population, Vector]) -> Predictor:
        """Return a predictor by the same method that has also learnt from other subnets."""
        predictor = self.build()
        population, targets = self.fitted_on
        predictor.fit(np.concatenate([population, extra[0]]), np.concatenate([targets, extra[1]]))
        return predictor


def fit_latency(
    space: SearchSpace,
    profile: Profile,
    name: str = "auto",
    known: Mapping[str, KnownLatency] | None = None,
) -> FittedLatency:
    """Fit a latency predictor on the profile's calibration subnets.

    The error is stated on the held-out subnets, which it never fits; where a profile has none, each
    calibration subnet is predicted by what was fitted on the others.

    Args:
        known: other targets by name, whose latencies are known, to transfer from.

    Raises:
        InputError: an unknown predictor, or a profile that holds too little for it.
    """
    if name not in LATENCY_PREDICTORS:
        raise unknown_name("latency predictor", name, LATENCY_PREDICTORS)
    # one layer, of a profile that stopped early, tells nothing of the others
    table = layer_table(space, profile) if len(profile.layers) > 1 else None
    table_ms = table.latency_ms if table else None

    population, targets = _measured(profile, space, "calibration")
    targets_known = list((known or {}).values())
    chosen = LATENCY_PREDICTORS[name](space, table_ms, targets_known)
    chosen.fit(population, targets)
    method, reason = name, ""
    if isinstance(chosen, Auto):
        method, reason = chosen.choice.name, chosen.choice.reason

    def build() -> Predictor:
        return LATENCY_PREDICTORS[method](space, table_ms, targets_known)

    held_out, measured = _measured(profile, space, "held_out")
    if len(held_out):
        predicted = chosen.predict(held_out).mean
    else:
        held_out, measured = population, targets
        predicted = _leave_one_out(build, population, targets)
    baselines = _baselines(space, table, (population, targets), (held_out, measured))
    return FittedLatency(
        predictor=chosen,
        method=method,
        reason=reason,
        report=error_report(predicted, measured, noise_floor=profile.noise, baselines=baselines),
        held_out_prediction=predicted,
        measured=measured,
        layer_fill=table.fill_error if table else None,
        fitted_on=(population, targets),
        known=tuple(known or {}),
        build=build,
    )


def _measured(
    profile: Profile, space: SearchSpace, role: Literal["calibration", "held_out"]
) -> tuple[Population, Vector]:
    population, latencies = profile.population(space, role)
    return population, np.array(latencies)


def _leave_one_out(
    build: Callable[[], Predictor], population: Population, targets: Vector
) -> Vector:
    """Predict each of n subnets by what was fitted on the others."""
    predicted = np.empty(len(targets))
    for i in range(len(targets)):
        others = np.arange(len(targets)) != i
        predictor = build()
        predictor.fit(population[others], targets[others])
        predicted[i] = predictor.predict(population[i : i + 1]).mean[0]
    return predicted


def _baselines(
    space: SearchSpace,
    table: LayerTable | None,
    fitted_on: tuple[Population, Vector],
    held_out: tuple[Population, Vector],
) -> dict[str, ErrorReport]:
    """State the errors of a constant, MACs, parameters, and the sum of layers as it is.

    Where the same subnets are fitted on and guessed, each is guessed from the others.
    """
    x, targets = _costs(space, fitted_on[0]), fitted_on[1]
    if held_out[0] is not fitted_on[0]:
        guesses = baseline_guesses(x, targets, _costs(space, held_out[0]))
    else:
        rows = [
            baseline_guesses(_rows(x, others), targets[others], _rows(x, ~others))
            for others in ~np.eye(len(targets), dtype=np.bool_)
        ]
        guesses = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    if table is not None:
        guesses["uncorrected layer sum"] = space.layers.sum(held_out[0], table.latency_ms)
    return {name: error_report(guess, held_out[1]) for name, guess in guesses.items()}


def _costs(space: SearchSpace, population: Population) -> dict[str, Vector]:
    costs = space.layers.costs(population)
    return {"macs": costs.macs, "num_params": costs.num_params}


def _rows(columns: Mapping[str, Vector], which: npt.NDArray[np.bool_]) -> dict[str, Vector]:
    return {name: column[which] for name, column in columns.items()}

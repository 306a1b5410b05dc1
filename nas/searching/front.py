"""The predicted front of a search, and its files."""

import csv
import io

import numpy as np

from hardware_profiles.artifact import write_atomic
from nas.fitted_predictors import FittedAccuracy
from nas.results import Front, FrontMember, SearchResult
from nas.run_directory import Run
from nas.searching.evaluations import Evaluations
from nas.searching.search import SearchOutcome


def front_members(
    run: Run, outcome: SearchOutcome, accuracy: FittedAccuracy, evaluations: Evaluations
) -> list[FrontMember]:
    """The predicted front, slowest last, with what was measured of its members."""
    rows = outcome.front()
    rows = rows[np.argsort(outcome.evaluation.latency_ms[rows], kind="stable")]
    costs = run.space.layers.costs(outcome.population[rows])
    members = []
    for i, row in enumerate(rows):
        architecture = run.space.decode(outcome.population[row])
        known = evaluations.get(architecture.id)
        measured = {}
        if known is not None:
            measured = {
                "validation_accuracy": known.validation_accuracy,
                "loss": known.loss,
                "latency_ms": known.latency_ms,
            }
        members.append(
            FrontMember(
                architecture_id=architecture.id,
                values=architecture.values,
                costs=costs.row(i),
                predicted={
                    accuracy.quantity: float(outcome.evaluation.loss[row]),
                    "latency_ms": float(outcome.evaluation.latency_ms[row]),
                    "latency_upper_ms": float(outcome.evaluation.latency_upper_ms[row]),
                },
                measured=measured,
            )
        )
    return members


def write_front(run: Run, result: SearchResult) -> None:
    """Write the latest front as JSON and as CSV; measured and predicted are columns of their
    own.
    """
    Front(
        space=result.space,
        budget_ms=result.budget_ms,
        members=result.front,
        made_from=result.made_from,
    ).save(run.search_path / "front.json")
    members = [member.model_dump(mode="json") for member in result.front]
    groups = ("costs", "predicted", "measured")
    columns = list(dict.fromkeys((g, key) for g in groups for m in members for key in m[g]))
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["architecture_id", *(f"{g}.{key}" for g, key in columns)])
    for member in members:
        cells = [member[group].get(key, "") for group, key in columns]
        table.writerow([member["architecture_id"], *cells])
    write_atomic(run.search_path / "front.csv", buffer.getvalue().encode())

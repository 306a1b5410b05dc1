"""The predicted front of a search, and its files."""

import csv
import io

import numpy as np

from hardware_profiles.artifact import write_atomic
from nas.fitted_predictors import FittedAccuracy
from nas.results import Front, FrontMember, SearchResult
from nas.run_directory import Run
from nas.searching.evaluations import Evaluations
from nas.searching.loop import SearchOutcome
from nas.searching.problem import SearchProblem, estimates
from predictors.predictor import Vector
from search_spaces import Population

ANALYTIC = ("macs", "params", "activation_bytes")  # stated among the costs


def front_members(
    run: Run,
    outcome: SearchOutcome,
    problem: SearchProblem,
    accuracy: FittedAccuracy,
    evaluations: Evaluations,
) -> list[FrontMember]:
    """The front, slowest last, with what is predicted and what was measured of its members."""
    rows = outcome.front()
    latency = problem.quantities()["latency_ms"](outcome.population[rows]).value
    rows = rows[np.argsort(latency, kind="stable")]
    population = outcome.population[rows]
    columns = predicted_columns(problem, accuracy, population)
    costs = run.space.layers.costs(population)
    members = []
    for i, row in enumerate(rows):
        architecture = run.space.decode(population[i])
        known = evaluations.get(architecture.id)
        measured = {
            quantity.name: float(outcome.costs[row, column])
            for column, quantity in enumerate(problem.objectives)
            if quantity.is_measured
        }
        if known is not None:
            measured |= {
                "validation_accuracy": known.validation_accuracy,
                "loss": known.loss,
                "latency_ms": known.latency_ms,
            }
        members.append(
            FrontMember(
                architecture_id=architecture.id,
                values=architecture.values,
                costs=costs.row(i),
                predicted={name: float(values[i]) for name, values in columns.items()},
                measured=measured,
            )
        )
    return members


def predicted_columns(
    problem: SearchProblem, accuracy: FittedAccuracy, population: Population
) -> dict[str, Vector]:
    """Return everything that is guessed of n architectures by name, bounds of latencies too."""
    columns: dict[str, Vector] = {accuracy.quantity: accuracy.predictor.predict(population).mean}
    for name, estimate in estimates(problem, population).items():
        if name not in ANALYTIC:
            columns[name] = estimate.value
        if name.startswith("latency_ms"):
            columns[name.replace("latency_ms", "latency_upper_ms")] = estimate.bound
    return columns


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

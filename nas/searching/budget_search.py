"""The search stage under one budget: resolve it, search, choose, export, and write what was
found.
"""

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from hardware_profiles.artifact import content_hash, file_hash, write_atomic
from hardware_profiles.profile import Profile
from nas.artifacts import (
    fitted_accuracy,
    load_profile,
    load_supernet,
    subnet_evaluator,
    supernet_hash,
)
from nas.config import SearchConfig, check_budget
from nas.exporting.export import export_subnet
from nas.exporting.manifest import MODEL_NAME
from nas.fitted_predictors import FittedAccuracy, fit_latency
from nas.progress import progress_bar, say
from nas.results import ClosestMiss, Front, FrontMember, SearchResult, Winner
from nas.run_directory import Run
from nas.searching.choose import Choice, Chooser
from nas.searching.evaluations import Evaluations
from nas.searching.problem import Limits, SearchProblem
from nas.subnet.evaluator import SubnetEvaluator
from predictors.predictor import Vector
from search_spaces import Population
from search_spaces.supernet import Supernet


def search_budget(run: Run, config: SearchConfig) -> SearchResult:
    """Find, export and measure the most accurate subnet under `config.budget` and the other limits.

    The result of the same search on the same files is read back, not searched anew.

    Raises:
        InfeasibleError: nothing reaches the limits; the least reachable value is named.
    """
    check_budget(config.budget)
    profile, accuracy = load_profile(run), fitted_accuracy(run)
    limits = Limits(None, config.max_macs, config.max_params, config.max_activation_bytes)
    reachable = _problem(run, profile, accuracy, limits, config, None).reachable_latency_ms()
    budget_ms = resolve_budget(config.budget, reachable)
    say(f"            budget {budget_ms:.4g} ms; reachable {_range(reachable)} ms")
    limits = replace(limits, latency_ms=budget_ms)
    made_from = {
        "supernet": supernet_hash(run),
        "profile": file_hash(run.profile_path),
        "accuracy_samples": file_hash(run.accuracy_samples.path),
        "search": content_hash(config.replaced({"budget": budget_ms}).model_dump(mode="json")),
        "seed": run.recipe.seed,
    }
    path = _result_path(run, budget_ms, limits)
    evaluations = Evaluations(run.evaluations, run.space, supernet_hash(run), profile.target.id)
    known = _known_result(run, path, made_from)
    if known is not None and not _better_is_known(known, evaluations, limits):
        say(f"            {path} has this search already")
        _write_front(run, known)
        return _located(run, known)
    supernet = load_supernet(run)
    evaluator = subnet_evaluator(run, supernet)

    def make_problem(extra: tuple[Population, Vector] | None) -> SearchProblem:
        return _problem(run, profile, accuracy, limits, config, extra)

    chooser = Chooser(
        run.space, evaluator, evaluations, config, profile.target.threads, make_problem, say
    )
    with progress_bar("search", config.generations) as advance:
        choice = chooser.choose(budget_ms, run.recipe.seed, advance)
    winner = _export_winner(run, choice, supernet, evaluator, profile, budget_ms)
    reference = (float(accuracy.measured.max()), budget_ms)
    result = SearchResult(
        space=run.space.name,
        budget_ms=budget_ms,
        limits=_other_limits(limits),
        reachable_ms=reachable,
        coverage=config.coverage,
        predicted_quantity=accuracy.quantity,
        winner=winner,
        closest_miss=_closest_miss(choice),
        front=tuple(_front(run, choice, accuracy, evaluations)),
        evaluations=choice.outcome.num_evaluations,
        measurements=len(evaluations.all()),
        rounds=choice.rounds,
        hypervolume=choice.outcome.hypervolume(reference),
        hypervolume_reference=reference,
        made_from=made_from,
    )
    _write_front(run, result)
    result.save(path)
    return _located(run, result)


def _export_winner(
    run: Run,
    choice: Choice,
    supernet: Supernet,
    evaluator: SubnetEvaluator,
    profile: Profile,
    budget_ms: float,
) -> Winner | None:
    """Write the winner's folder; its path in the result starts at the run."""
    if choice.winner is None:
        return None
    assert choice.exported is not None
    genome = run.space.encode(choice.exported.architecture)
    predicted = float(choice.problem.evaluate(genome).latency_ms[0])
    folder, manifest = export_subnet(
        run,
        choice.exported,
        choice.winner,
        supernet=supernet,
        evaluator=evaluator,
        profile=profile,
        predicted_latency_ms=predicted,
        budget_ms=budget_ms,
    )
    return Winner(
        architecture_id=manifest.architecture_id,
        model_path=str((folder / MODEL_NAME).relative_to(run.path)),
        validation_accuracy=manifest.validation_accuracy,
        test_accuracy=manifest.test_accuracy,
        predicted_latency_ms=predicted,
        measured_latency_ms=choice.winner.latency_ms,
        noise=choice.winner.noise,
        kept=True,
    )


def _closest_miss(choice: Choice) -> ClosestMiss | None:
    miss = choice.closest_miss
    if miss is None:
        return None
    return ClosestMiss(
        architecture_id=miss.architecture_id,
        measured_latency_ms=miss.latency_ms,
        noise=miss.noise,
        validation_accuracy=miss.validation_accuracy,
    )


def _other_limits(limits: Limits) -> dict[str, float]:
    return {k: v for k, v in asdict(limits).items() if k != "latency_ms" and v is not None}


def resolve_budget(budget: float | str, reachable_ms: tuple[float, float]) -> float:
    """Turn a share of the reachable range ("50%") into milliseconds, to four digits."""
    if isinstance(budget, str) and budget.endswith("%"):
        least, greatest = reachable_ms
        exact = least + float(budget[:-1]) / 100 * (greatest - least)
        rounded = float(f"{exact:.4g}")
        return rounded if rounded >= least else float(f"{exact * 1.0005:.4g}")
    return float(budget)


def _range(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.4g} to {pair[1]:.4g}"


def _problem(
    run: Run,
    profile: Profile,
    accuracy: FittedAccuracy,
    limits: Limits,
    config: SearchConfig,
    extra: tuple[Population, Vector] | None,
) -> SearchProblem:
    latency = fit_latency(run.space, profile, extra)
    return SearchProblem(run.space, accuracy.predictor, latency.predictor, limits, config.coverage)


def _result_path(run: Run, budget_ms: float, limits: Limits) -> Path:
    others = _other_limits(limits)
    suffix = f"-{content_hash(others)[:6]}" if others else ""
    return run.search_path / "budgets" / f"{budget_ms}ms{suffix}.json"


def _known_result(run: Run, path: Path, made_from: dict[str, object]) -> SearchResult | None:
    """Return an earlier result that found a winner, from the same files, which is still there."""
    if not path.exists():
        return None
    result = SearchResult.load(path)
    if result.winner is None or dict(result.made_from) != made_from:
        return None
    return result if (run.path / result.winner.model_path).is_file() else None


def _better_is_known(result: SearchResult, evaluations: Evaluations, limits: Limits) -> bool:
    """Tell whether a search under another budget has measured a better subnet for this one
    since.
    """
    assert result.winner is not None
    within = [m for m in evaluations.within(limits) if m.keeps(result.budget_ms)]
    return any(m.validation_accuracy > result.winner.validation_accuracy for m in within)


def _located(run: Run, result: SearchResult) -> SearchResult:
    """Return the result with the model's path from here; in the file it starts at the run."""
    if result.winner is None:
        return result
    path = str(run.path / result.winner.model_path)
    winner = result.winner.model_copy(update={"model_path": path})
    return result.model_copy(update={"winner": winner})


def _front(
    run: Run, choice: Choice, accuracy: FittedAccuracy, evaluations: Evaluations
) -> list[FrontMember]:
    """The predicted front, slowest last, with what was measured of its members."""
    outcome = choice.outcome
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
                "cross_entropy": known.cross_entropy,
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


def _write_front(run: Run, result: SearchResult) -> None:
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

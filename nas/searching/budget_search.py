"""The search stage under one budget: search, choose, export, and write what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from hardware_profiles.measure_plan import measure_workloads
from hardware_profiles.profile_device import Measurement
from hardware_profiles.runtimes.runtime import Runtime
from nas.artifacts import supernet_hash
from nas.config import SearchConfig
from nas.exporting.in_memory import Exported, export_in_memory
from nas.finetuning.fine_tuned import Weights, best_weights, load_inherited
from nas.finetuning.single_training import Inherited
from nas.progress import progress_bar, say
from nas.results import AlsoDevice, Candidate, ClosestMiss, SearchResult, Winner
from nas.run_directory import Run
from nas.searching.choose import Chooser
from nas.searching.evaluations import Evaluations, MeasuredSubnet
from nas.searching.exported import export_candidate, export_winner, with_weights_of_now
from nas.searching.front import front_members, write_front
from nas.searching.loop import Callback, SearchOutcome
from nas.searching.measured_log import MeasuredLog
from nas.searching.problem import SearchProblem
from nas.searching.search import Rounds, additive_start, num_evaluations
from nas.searching.setting import LATENCY, Destination, SearchSetting, search_setting
from nas.searching.validation import validations
from search_spaces import Architecture, Population


def search_budget(
    run: Run, config: SearchConfig, callbacks: Sequence[Callback] = ()
) -> SearchResult:
    """Find, export and measure the most accurate subnet under `config.budget` and the other limits.

    Where the device is not this machine nothing is measured: the best candidate is exported, and
    the result says that it was predicted only. The result of the same search on the same files is
    read back, not searched anew.

    Args:
        callbacks: called with the progress after every generation.

    Raises:
        InfeasibleError: nothing reaches the limits; the least reachable value is named.
    """
    setting = search_setting(run, config)
    for name, one in {"": setting.main, **setting.also}.items():
        say(f"            {_budget_words(name, one)}")
    if not setting.device.profile.layers and setting.latency.reason:
        say(f"            latency predictor {setting.latency.reason}")
    runtime, path = setting.device.runtime, setting.result_path()
    target = setting.device.target
    evaluations = Evaluations(run.evaluations, run.space, supernet_hash(run), target.id)
    known = _known_result(run, path, setting.made_from())
    if known is not None and not _better_is_known(known, evaluations, setting):
        say(f"            {path} has this search already")
        known = with_weights_of_now(setting, known)
        if known is not None:
            return _written(run, known, path)
    inherited = load_inherited(run)
    evaluator = inherited.evaluator
    quantity = setting.accuracy.quantity
    with (
        validations(run, evaluator, config.workers, quantity, setting.search_hash()) as log,
        progress_bar("search", num_evaluations(config)) as advance,
    ):
        start = None
        if config.exact_start:
            rng = np.random.default_rng([run.recipe.seed, 0xE7])
            start = additive_start(setting.problem(predicted_only=True), config.exact_start, rng)
        if config.measured_evaluations:
            say(f"            {len(log.earlier)} validated subnets are known from before")
        look = Rounds(advance, log, callbacks, start)
        if runtime is None:
            found = _predicted(setting, inherited, look)
        else:
            found = _measured(setting, runtime, inherited, evaluations, look)
    outcome, problem = found.outcome, found.problem
    notes = _notes(outcome, config, log)
    for note in notes:
        say(f"            {note}")
    reference = tuple(problem.reference().tolist())
    result = SearchResult(
        space=run.space.name,
        budget_ms=setting.budget_ms,
        limits=setting.limits(),
        reachable_ms=setting.main.reachable_ms,
        also={
            name: AlsoDevice(
                target=one.device.target,
                budget_ms=one.budget_ms,
                reachable_ms=one.reachable_ms,
                **_predicted_on(name, problem, found.genome),
            )
            for name, one in setting.also.items()
        },
        objectives=tuple(one.name for one in problem.objectives),
        measured_objectives=problem.measured,
        coverage=config.coverage,
        predicted_quantity=setting.accuracy.quantity,
        metric=run.task.metric,
        winner=found.winner,
        closest_miss=found.closest_miss,
        candidate=found.candidate,
        target=target,
        device=config.device,
        front=tuple(front_members(run, outcome, problem, setting.accuracy, evaluations)),
        searcher=config.searcher,
        notes=notes,
        stopped=outcome.stopped,
        evaluations=outcome.num_evaluations,
        failed=outcome.num_failed,
        measurements=len(evaluations.all()),
        rounds=found.rounds,
        hypervolume=outcome.hypervolume(reference),
        hypervolume_reference=reference,
        made_from=setting.made_from(),
    )
    return _written(run, result, path)


@dataclass(frozen=True)
class _Found:
    """What a search gave: a winner, a closest miss, or a candidate for a device elsewhere."""

    outcome: SearchOutcome
    problem: SearchProblem
    rounds: int
    genome: Population | None = None  # of the winner or candidate, 1 x d
    winner: Winner | None = None
    closest_miss: ClosestMiss | None = None
    candidate: Candidate | None = None


def _measured(
    setting: SearchSetting,
    runtime: Runtime,
    inherited: Inherited,
    evaluations: Evaluations,
    look: Rounds,
) -> _Found:
    """Search for the device at hand: its finalists are measured.

    They are compared by inherited weights; the winner leaves with fine-tuned ones if it has them.
    """
    run, evaluator = setting.run, inherited.evaluator

    @cache
    def weights(architecture: Architecture) -> Weights:
        return best_weights(run, architecture, inherited)

    def measure(exported: list[Exported]) -> list[Measurement]:
        return measure_workloads(runtime, [one.workload for one in exported])

    chooser = Chooser(
        run.space,
        evaluator,
        evaluations,
        setting.config,
        measure,
        setting.problem,
        look,
        say,
        lambda architecture: export_in_memory(weights(architecture).evaluator, architecture),
    )
    choice = chooser.choose(setting.budget_ms, run.recipe.seed)
    if choice.winner is None:
        miss = choice.closest_miss
        missed = _closest_miss(miss, run.task.metric)
        return _Found(choice.outcome, choice.problem, choice.rounds, closest_miss=missed)
    assert choice.exported is not None
    genome = run.space.encode(choice.exported.architecture)
    predicted, _ = _latency_ms(choice.problem, genome)
    leaving = weights(choice.exported.architecture)
    winner = export_winner(setting, choice.exported, leaving, choice.winner, predicted)
    return _Found(choice.outcome, choice.problem, choice.rounds, genome, winner=winner)


def _predicted(
    setting: SearchSetting,
    inherited: Inherited,
    look: Rounds,
) -> _Found:
    """Search for a device elsewhere: of the finalists, the one of best validation accuracy."""
    run, problem, evaluator = setting.run, setting.problem(), inherited.evaluator
    rng = np.random.default_rng([run.recipe.seed, 0])
    outcome = look(problem, setting.config, rng)
    finalists = [
        run.space.decode(genome) for genome in outcome.population[: setting.config.finalists]
    ]
    accuracies = [evaluator.validation_accuracy(architecture) for architecture in finalists]
    best = finalists[int(np.argmax(accuracies))]
    weights = best_weights(run, best, inherited)
    exported = export_in_memory(weights.evaluator, best)
    predicted, bound = _latency_ms(problem, run.space.encode(best))
    candidate = export_candidate(setting, exported, weights, predicted, bound)
    return _Found(outcome, problem, 1, run.space.encode(best), candidate=candidate)


def _predicted_on(name: str, problem: SearchProblem, genome: Population | None) -> dict[str, float]:
    """Return the predicted latency of what was found on another device, and its bound."""
    if genome is None:
        return {}
    estimate = problem.quantities()[f"{LATENCY}@{name}"](genome)
    return {
        "predicted_ms": float(estimate.value[0]),
        "predicted_upper_ms": float(estimate.bound[0]),
    }


def _latency_ms(problem: SearchProblem, genome: Population) -> tuple[float, float]:
    """Return the predicted latency of one architecture on the main device, and its bound."""
    estimate = problem.quantities()[LATENCY](genome)
    return float(estimate.value[0]), float(estimate.bound[0])


def _budget_words(name: str, destination: Destination) -> str:
    reachable = "{:.4g} to {:.4g}".format(*destination.reachable_ms)
    on = f" on {name}" if name else ""
    return f"budget {destination.budget_ms:.4g} ms{on}; reachable {reachable} ms"


def _notes(outcome: SearchOutcome, config: SearchConfig, log: MeasuredLog) -> tuple[str, ...]:
    """Return what a user should be told of a search."""
    notes = list(outcome.notes)
    if config.searcher != "auto":
        notes.insert(0, f"searcher {config.searcher}: {outcome.num_evaluations:,} evaluations")
    if config.measured_evaluations:
        notes.append(f"{log.num_measured} subnets were validated anew")
    if outcome.stopped == "exhausted":
        notes.append(
            f"all that the searcher could propose is evaluated: {outcome.num_evaluations} "
            "distinct architectures"
        )
    elif outcome.stopped != "evaluations":
        notes.append(f"{outcome.stopped} after {outcome.num_evaluations} evaluations")
    if outcome.num_failed:
        notes.append(f"{outcome.num_failed} evaluations failed")
    return tuple(notes)


def _closest_miss(miss: MeasuredSubnet | None, metric: str) -> ClosestMiss | None:
    if miss is None:
        return None
    return ClosestMiss(
        architecture_id=miss.architecture_id,
        measured_latency_ms=miss.latency_ms,
        noise=miss.noise,
        validation_accuracy=miss.validation_accuracy,
        metric=metric,
    )


def _known_result(run: Run, path: Path, made_from: Mapping[str, object]) -> SearchResult | None:
    """Return an earlier result that found a subnet, from the same files, which is still there."""
    if not path.exists():
        return None
    result = SearchResult.load(path)
    found = result.winner or result.candidate
    if found is None or dict(result.made_from) != made_from:
        return None
    return result if (run.path / found.model_path).is_file() else None


def _better_is_known(
    result: SearchResult, evaluations: Evaluations, setting: SearchSetting
) -> bool:
    """Tell whether a search under another budget has measured a better subnet for this one
    since.
    """
    if result.winner is None:
        return False
    known = evaluations.within(setting.problem())
    within = [m for m in known if m.keeps(result.budget_ms)]
    # the winner's own may be of fine-tuned weights, all that is logged is of inherited ones
    inherited = evaluations.get(result.winner.architecture_id)
    accuracy = (inherited or result.winner).validation_accuracy
    return any(m.validation_accuracy > accuracy for m in within)


def _written(run: Run, result: SearchResult, path: Path) -> SearchResult:
    write_front(run, result)
    result.save(path)
    return _located(run, result)


def _located(run: Run, result: SearchResult) -> SearchResult:
    """Return the result with the model's path from here; in the file it starts at the run."""
    changes = {}
    for name in ("winner", "candidate"):
        found = getattr(result, name)
        if found is not None:
            path = str(run.path / found.model_path)
            changes[name] = found.model_copy(update={"model_path": path})
    return result.model_copy(update=changes)

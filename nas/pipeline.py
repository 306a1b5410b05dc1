"""The stages in order, one function each: train, profile, sample, fit, search, export, report.

Each stage reads the files of those before it from the run directory and writes its own, so each can
be called alone, again, or after an interruption; finished work is found and not done again.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardware_profiles.profile import Profile
from hardware_profiles.runtimes import RUNTIMES
from hardware_profiles.store import profile_path
from nas.artifacts import (
    fitted_accuracy,
    fitted_latency,
    load_supernet,
    new_supernet,
    proxy_scores,
    save_predictors,
    subnet_evaluator,
    supernet_hash,
)
from nas.config import Recipe, check_budget, load_recipe
from nas.device import run_device
from nas.dry_running import STEPS, DryRun, try_training
from nas.elastic_networks import (
    describe_network,
    elastic_network,
    is_network_folder,
    write_network,
)
from nas.exporting import plan
from nas.exporting.export import export_architecture
from nas.exporting.family import FamilyMember, member_of_folder, members_of_searches, save_family
from nas.exporting.request import read_request
from nas.exporting.verify import Verification, verify_folder
from nas.finetuning.audit import AuditReport, audit_run
from nas.finetuning.fine_tuned import fine_tune
from nas.finetuning.single_training import SingleTraining
from nas.fitted_latency import FittedLatency
from nas.fitted_predictors import (
    FittedAccuracy,
    describe_error,
    no_better_than_costs,
    quantity_name,
)
from nas.importing import import_published
from nas.profiling import measure_profile
from nas.progress import progress_bar, say
from nas.reporting.report import write_report
from nas.results import ExportResult, Front, RunResult, SearchResult, metric_text
from nas.run_directory import Run, create_run_directory, open_run
from nas.run_file import is_run
from nas.searching.budget_search import search_budget
from nas.searching.known_architectures import find_architecture
from nas.searching.loop import Callback
from nas.searching.searchers import SEARCHERS
from nas.subnet.one_shot import OneShot, network_itself, one_shot_quality
from nas.subnet.proxy_ranks import ProxyReport, rank_proxies
from nas.subnet.sample import AccuracySamples, load_samples, sample_accuracy
from nas.supernet_trainer import ENDS, check_sources, supernet_trainer, training_metrics
from nas.training.metrics import epoch_records
from nas.training.optimizers import OPTIMIZERS
from nas.training.ranks import Ranks
from nas.training.starting_weights import start_from
from nas.training.tensorboard import check_tensorboard
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.latency import LATENCY_PREDICTORS
from predictors.zero_cost import ZERO_COST
from search_spaces import Architecture, InputError, build_space, unknown_name
from search_spaces.catalogue import is_file_name
from search_spaces.conversion.space_file import SPACE_NAME, read_plan
from search_spaces.part import SpacePart

RunLike = Run | Path | str
BASELINES = ("parameters", "macs")  # of zero-cost proxies


def run(
    recipe: Recipe | Path | str | None = None,
    out: Path | str | None = None,
    overrides: Iterable[str] = (),
) -> RunResult:
    """Do the whole job: from a recipe to a model file that was measured to keep the budget.

    Args:
        recipe: a `Recipe` or a TOML file; None is the embedded digits.
        out: run directory, `runs/NAME` by default. The same directory with the same recipe goes on.
        overrides: `section.key=value`, applied to the recipe file.

    Raises:
        InputError: a bad recipe or bad data, a directory that holds another run, or a budget that
            nothing reaches (InfeasibleError).
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(Path(recipe) if recipe is not None else None, overrides)
    return run_stages(create_run(Path(out or Path("runs") / recipe.name), recipe))


def create_run(path: Path, recipe: Recipe) -> Run:
    """Make a run directory, or open the one that is there if it was made from the same recipe.

    Raises:
        InputError: an unknown strategy, optimiser, predictor or searcher; a bad task; bad data, or
            data that the space does not take; weights to start from, or a run that is to judge,
            that are absent or of another space; teachers that are absent, untrained or of other
            classes; another run's directory.
    """
    if is_run(path):  # with a copy of its own of a network that was made elastic
        of_file = is_file_name(recipe.space.name)
        _check_recipe(recipe, open_run(path).space_name if of_file else recipe.space.name)
        return create_run_directory(path, recipe)
    _check_recipe(recipe, recipe.space.name)
    return create_run_directory(path, recipe, check_sources(recipe))


def _check_recipe(recipe: Recipe, space_name: str) -> None:
    """Check what can be before data are loaded, which may take long."""
    _check_known("optimizer", recipe.training.optimizer, OPTIMIZERS)
    _check_known("accuracy predictor", recipe.accuracy.predictor, ACCURACY_PREDICTORS)
    for name in recipe.accuracy.proxies:
        _check_known("zero-cost proxy", name, ZERO_COST)
    if recipe.training.tensorboard:
        check_tensorboard()
    _check_known("searcher", recipe.search.searcher, SEARCHERS)
    _check_known("runtime", recipe.profile.runtime, RUNTIMES)
    _check_known("latency predictor", recipe.profile.predictor, LATENCY_PREDICTORS)
    space = SpacePart(build_space(space_name), recipe.profile.options).whole
    if recipe.training.drop_path and not any(slot.droppable for slot in space.slots):
        raise InputError(
            f"training.drop_path is of spaces whose layers may be dropped (cells), and "
            f"{space.name} has none: set it to 0"
        )


def _check_known(noun: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise unknown_name(noun, name, known)


def run_stages(where: RunLike) -> RunResult:
    """Do every stage of a run in order, or what is left of them."""
    this = open_run(where)
    train(this)
    profile(this)
    measure_accuracy(this)
    fit_predictors(this)
    found = search(this)
    report_path = report(this)
    return RunResult(
        run=str(this.path),
        budget_ms=found.budget_ms,
        metric=found.metric,
        target=found.target,
        winner=found.winner,
        closest_miss=found.closest_miss,
        candidate=found.candidate,
        front_path=str(this.search_path / "front.json"),
        report_path=str(report_path),
        seconds={name: stage.seconds for name, stage in this.stages.items()},
    )


def train(where: RunLike, minutes: float | None = None, ranks: Ranks | None = None) -> Path:
    """Train the supernet, or go on where it stopped; return the checkpoint's path.

    Args:
        minutes: of this leg, loading data included; the checkpoint it ends with is gone on from.
        ranks: the processes that do so together, of which the first writes and prints.

    Raises:
        UnfinishedError: the minutes were over.
    """
    ends_at = math.inf if minutes is None else time.monotonic() + 60 * minutes
    this, ranks = open_run(where), ranks or Ranks()
    with (
        this.stage("train") if ranks.is_first else this.threads(),
        training_metrics(this) as metrics,
    ):
        trainer = supernet_trainer(this, metrics, ranks)
        damage = trainer.resume()
        if not ranks.is_first:
            trainer.train(ends_at=ends_at)
            return this.checkpoint_path
        if damage is not None:
            say(f"            {damage}")
        epochs = this.recipe.training.epochs
        if trainer.next_epoch >= epochs:
            say(f"            already trained, {epochs} epochs")
        elif trainer.next_epoch or trainer.next_step:
            say(f"            going on in epoch {trainer.next_epoch + 1} of {epochs}")
        with progress_bar("train", trainer.num_steps) as advance:
            trainer.train(advance, ends_at)
    for last in epoch_records(this.metrics.read())[-1:]:
        if set(ENDS) <= set(last):
            metric = this.task.metric
            values = {name.split("_")[0]: metric_text(metric, last[name]) for name in ENDS}
            words = ", ".join(f"{name} {value}" for name, value in values.items())
            say(f"            validation {metric}: {words}")
    return this.checkpoint_path


def finetune(
    where: RunLike,
    architecture: str,
    *,
    epochs: int = 5,
    learning_rate: float | None = None,
    **settings: Any,
) -> SingleTraining:
    """Train a subnet of a run on, distilled from the largest, or go on where that stopped.

    `export` and `search` then take its weights.

    Args:
        architecture: as for `export`.
        learning_rate: a tenth of the recipe's without; it falls to 0 as a cosine.
        settings: others of the recipe's section `training`.

    Raises:
        InputError: no such architecture; a run that is not trained to the end; a bad setting, or
            others than an earlier fine-tuning of this subnet had.
    """
    this = open_run(where)
    with this.stage("finetune"):
        supernet_hash(this)  # before data are loaded, which may take long
        chosen = find_architecture(this, architecture)
        with progress_bar("finetune", 1) as advance:
            return fine_tune(
                this,
                chosen,
                epochs,
                learning_rate,
                settings,
                lambda done, total, note: advance(done, note, total),
            )


def audit(
    where: RunLike,
    *,
    subnets: int = 8,
    epochs: int = 1,
    alone: bool = False,
    seed: int | None = None,
) -> AuditReport:
    """Tell how well inherited quality ranks subnets: some are trained alone, and compared.

    Args:
        subnets: how many, spread over the range of MACs.
        epochs: of each, on labels, without a teacher.
        alone: from fresh weights, instead of inherited ones.
        seed: of the choice of subnets and of their training; the recipe's without.

    Raises:
        InputError: a run that is not trained to the end, or too few subnets.
    """
    this = open_run(where)
    with this.stage("audit"), progress_bar("audit", 1) as advance:
        return audit_run(
            this,
            subnets,
            epochs,
            "fresh" if alone else "inherited",
            this.recipe.seed if seed is None else seed,
            lambda done, total, note: advance(done, note, total),
        )


def dry_run(
    recipe: Recipe | Path | str | None = None,
    overrides: Iterable[str] = (),
    *,
    steps: int = STEPS,
    samples: int | None = None,
    processes: int = 1,
) -> DryRun:
    """Check a recipe and try its training: real steps at several epochs. Writes nothing.

    Args:
        recipe: a `Recipe`, a TOML file, or a run.
        steps: at every epoch that is tried.
        samples: of training, to estimate by; those of the data without, if they are there.
        processes: of the training, of which one is tried, with its part of every batch.

    Raises:
        InputError: as `create_run` and `train`.
    """
    if isinstance(recipe, Path | str) and is_run(Path(recipe)):
        if list(overrides):
            raise InputError(f"{recipe} is a run: its recipe is fixed, so no --set")
        run = open_run(recipe)
        space = run.recipe.space.model_copy(update={"name": run.space_name})
        recipe = run.recipe.model_copy(update={"space": space})
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(Path(recipe) if recipe is not None else None, overrides)
    _check_recipe(recipe, recipe.space.name)
    fits = check_sources(recipe)
    return try_training(recipe, fits, steps=steps, samples=samples, processes=processes)


def import_weights(
    space: str, file: Path | str, out: Path | str | None = None
) -> dict[str, object]:
    """Turn published supernet weights into a file for `training.weights`.

    Args:
        space: mobilenet-v3, mobilenet-v3-w1.2 or resnet-50d.
        file: as once-for-all published it (torch), or the same tensors as safetensors.
        out: `SPACE.safetensors` by default.

    Raises:
        InputError: another kind of file, another width, a tensor missing or too many.
    """
    return import_published(space, Path(file), Path(out or f"{space}.safetensors"))


def elasticize(
    model: str,
    out: Path | str | None = None,
    *,
    profile: Path | str | None = None,
    latency_ms: float | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Make a network of the user's own a search space that holds it; describe it.

    Args:
        model: `python:package.module:function`, which returns the network and an example input.
        out: a folder to write it to, for `space.name = "file:FOLDER"`; nothing without.
        profile: a profile of its space, by which latencies are predicted.
        latency_ms: a budget, of which is told whether it is within reach.
        settings: of `search_spaces.conversion.elasticize.elasticize`: fixed, widths, options, ...

    Raises:
        InputError: no such function, a network that cannot be traced or of which nothing can be
            chosen, a folder that holds something else, or a profile of another space.
    """
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists() and not is_network_folder(folder):
        raise InputError(f"{folder} exists and holds something else; choose another --out")
    elastic = elastic_network(model, **settings)
    if folder is not None and (folder / SPACE_NAME).exists():
        there = read_plan(folder).name
        if there != elastic.space.name:
            raise InputError(
                f"{folder} holds another space ({there}, this is {elastic.space.name}); choose "
                "another --out or delete it"
            )
    found = None if profile is None else Profile.load(profile_path(str(profile)))
    described = describe_network(elastic, found, latency_ms)
    if folder is not None:
        write_network(elastic, folder, model)
        described["folder"] = str(folder)
    return described


def one_shot(where: RunLike, *, subnets: int = 8) -> OneShot:
    """Tell what subnets are worth before any training, with the weights that a run starts from.

    Raises:
        InputError: a run that starts from no weights.
    """
    this = open_run(where)
    if this.network_folder is None and this.recipe.training.weights is None:
        raise InputError(
            f"{this.path} starts from random weights, which tell nothing; see `nas audit` after "
            "training"
        )
    with this.stage("one-shot"):
        supernet = new_supernet(this)
        if this.recipe.training.weights is not None:
            weights = Path(this.recipe.training.weights)
            start_from(supernet, weights, this.recipe.training.kernel_transform)
        evaluator = subnet_evaluator(this, supernet)
        with progress_bar("one-shot", subnets) as advance:
            found = one_shot_quality(evaluator, this.space, subnets, this.recipe.seed, advance)
        if this.network_folder is None or this.recipe.training.weights is not None:
            return found
        return replace(found, itself=network_itself(evaluator, supernet))


def profile(where: RunLike, anew: bool = False) -> Profile:
    """Measure the space's layers and some whole subnets on this machine.

    A profile that is there already is used as it is, unless `anew`; one that was interrupted goes
    on.

    Raises:
        InputError: the profile that is there is damaged or of another machine; a machine that is
            too noisy now.
    """
    this = open_run(where)
    with this.stage("profile"):
        if this.profile_path.exists() and not anew:
            measured = run_device(this).profile
        else:
            measured = measure_profile(
                this.space, this.recipe.profile, this.profile_path, this.recipe.seed
            )
    noise = "unknown" if measured.noise is None else f"{measured.noise:.1%}"
    say(
        f"            {len(measured.layers)} layers, {len(measured.subnets)} subnets on "
        f"{measured.target}; noise {noise}"
    )
    return measured


def measure_accuracy(where: RunLike) -> AccuracySamples:
    """Extract, calibrate and validate subnets spread over the space: the predictor's samples."""
    this = open_run(where)
    config = this.recipe.accuracy
    with this.stage("accuracy"):
        evaluator = subnet_evaluator(this, load_supernet(this))
        with progress_bar("accuracy", config.num_subnets) as advance:
            return sample_accuracy(
                evaluator,
                this.space,
                this.accuracy_samples,
                supernet_hash(this),
                config.num_subnets,
                this.recipe.seed,
                advance,
            )


def proxies(
    where: RunLike,
    names: Sequence[str] = (),
    *,
    samples: int | None = None,
    trained: bool = False,
) -> ProxyReport:
    """Score the measured subnets of a run by zero-cost proxies, and tell how well those rank them.

    Args:
        names: of proxies, all without; parameters and MACs are always there to compare with.
        samples: how many of the measured subnets; all without.
        trained: on the supernet's weights; without, on first weights of the run's seed.

    Raises:
        InputError: an unknown proxy, nothing measured yet, or a proxy that cannot be computed.
    """
    this = open_run(where)
    for name in names:
        _check_known("zero-cost proxy", name, ZERO_COST)
    wanted = list(dict.fromkeys([*BASELINES, *(names or ZERO_COST)]))
    with this.stage("proxies"):
        measured = load_samples(this.accuracy_samples, this.space, supernet_hash(this))
        chosen = measured.evenly(samples)
        with progress_bar("proxies", len(chosen.population)) as advance:
            rows = proxy_scores(this, trained)(chosen.population, wanted, advance)
    ids = [this.space.decode(genome).id for genome in chosen.population]
    task = this.recipe.task
    return rank_proxies(chosen, ids, rows, task.metric_name, task.loss_name)


def fit_predictors(where: RunLike) -> tuple[FittedAccuracy, FittedLatency]:
    """Fit both predictors, state their errors beside baselines, and write `predictors/*.json`."""
    this = open_run(where)
    with this.stage("predictors"):
        accuracy, latency = fitted_accuracy(this), fitted_latency(this)
        save_predictors(this, accuracy, latency)
    name = quantity_name(accuracy.quantity, this.recipe.task)
    lines = describe_error(name, "", accuracy.report)
    if warning := no_better_than_costs(accuracy.report):
        lines.append(warning)
    lines += describe_error(f"latency ({latency.method})", "ms", latency.report)
    if latency.reason:
        lines.append(f"  chosen: {latency.reason}")
    for line in lines:
        say(f"            {line}")
    return accuracy, latency


def search(
    where: RunLike,
    latency_ms: float | str | None = None,
    *,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_activation_bytes: float | None = None,
    max_resident_bytes: float | None = None,
    device: str | None = None,
    searcher: str | None = None,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> SearchResult:
    """Search under a budget, measure the finalists, export the winner.

    Args:
        latency_ms: milliseconds, or a share of the reachable range ("50%"); the recipe's without.
        max_macs, max_params, max_activation_bytes, max_resident_bytes: further limits; the
            recipe's without.
        device: a known profile by name, or its file; the run's own without. Where it is not this
            machine, the result holds a candidate that was not measured.
        callbacks: called with a `nas.searching.loop.Progress` after every generation.
        settings: any other of the recipe's section `search`.

    Raises:
        InputError: an unknown setting or a bad value.
        InfeasibleError: nothing reaches the limits; the least reachable value is named.
    """
    this = open_run(where)
    given = {
        "budget": latency_ms,
        "max_macs": max_macs,
        "max_params": max_params,
        "max_activation_bytes": max_activation_bytes,
        "max_resident_bytes": max_resident_bytes,
        "device": device,
        "searcher": searcher,
    }
    changes = {key: value for key, value in (given | settings).items() if value is not None}
    config = this.recipe.search.replaced(changes)
    _check_known("searcher", config.searcher, SEARCHERS)
    with this.stage("search"):
        return search_budget(this, config, callbacks)


def export(
    where: RunLike,
    architecture: str | Architecture,
    *,
    inherited: bool = False,
    **options: Any,
) -> ExportResult:
    """Export one subnet of a run as a verified folder, with its fine-tuned weights where it has
    them.

    Args:
        architecture: itself, an id (or its beginning) that the run knows, "smallest", "largest", a
            JSON file or the family's text form.
        inherited: take the supernet's weights in any case.
        options: of a further model file beside the plain one (`nas.exporting.model_options`):
            format, precision (one, several as "fp16,int8", or "all" of them side by side), batch,
            opset, preprocessing. With format "tensorrt" an engine (`nas.exporting.request`):
            precision, opset, batch_range, workspace_mb, version_compatible, hardware_compatible.

    Raises:
        MissingExtraError: TensorRT, for an engine, is not installed.
        InputError: no such architecture, the nearest known ids are named; options that files
            cannot have, or that this machine has no file for.
    """
    request = read_request(options)
    if request.engine is not None:
        plan.gpu_setup()  # before a run is read
    this = open_run(where)
    with this.stage("export"):
        if not isinstance(architecture, Architecture):
            architecture = find_architecture(this, architecture)
        return export_architecture(this, architecture, inherited, request)


def export_budgets(
    where: RunLike, budgets: Sequence[float | str]
) -> tuple[list[SearchResult], tuple[FamilyMember, ...]]:
    """Search and export one subnet for every budget, and write their table, `family.csv`.

    Raises:
        InputError: a bad budget; nothing is searched.
        InfeasibleError: one that nothing reaches.
    """
    for budget in budgets:
        check_budget(budget)
    this = open_run(where)
    results = [search(this, budget) for budget in budgets]
    return results, save_family(this, members_of_searches(results))


def export_front(
    where: RunLike, *, inherited: bool = False, **options: Any
) -> tuple[list[ExportResult], tuple[FamilyMember, ...]]:
    """Export the whole front of the last search, and write its table, `family.csv`.

    Raises:
        InputError: nothing was searched yet; otherwise as `export`.
    """
    read_request(options)
    this = open_run(where)
    results = [export(this, name, inherited=inherited, **options) for name in front_ids(this)]
    folders = [Path(result.directory) for result in results]
    return results, save_family(this, map(member_of_folder, folders))


def front_ids(where: RunLike) -> list[str]:
    """Return the ids on the front of the last search.

    Raises:
        InputError: nothing was searched yet.
    """
    front = Front.load(open_run(where).search_path / "front.json")
    return [member.architecture_id for member in front.members]


def verify(folder: Path | str, *, trust_engines: bool = False) -> Verification:
    """Re-check an exported folder: hashes, graph, parity, measured latency against its budget.

    Args:
        trust_engines: code that version-compatible TensorRT engines carry may run.
    """
    return verify_folder(Path(folder), trust_engines)


def report(where: RunLike, beside: Sequence[RunLike] = ()) -> Path:
    """Write `report.html`: the front, the predictors' errors, the training curves, the settings.

    Args:
        beside: runs whose training is drawn beside this one's, and what does not compare is said.

    Raises:
        InputError: nothing is trained yet, or a run beside it is judged by another metric.
    """
    this = open_run(where)
    if not this.checkpoint_path.exists():
        raise InputError(f"{this.path}: nothing to report yet; train first")
    with this.stage("report"):
        return write_report(this, [open_run(one) for one in beside])

"""The training of one architecture alone, resumable, with a record of what it is and gave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hardware_profiles.artifact import Artifact, Frozen
from nas.append_log import AppendLog
from nas.artifacts import subnet_evaluator, supernet_hash
from nas.config import TrainingConfig, differing_keys
from nas.finetuning import settings
from nas.progress import say
from nas.run_directory import Run
from nas.subnet.evaluator import SubnetEvaluator
from nas.task import Score, make_task
from nas.teachers import largest_teacher
from nas.training.alone import Alone
from nas.training.checkpoint import load_checkpoint, read_state
from nas.training.device import training_device
from nas.training.starting_weights import load_weights
from nas.training.trainer import Trainer
from search_spaces import Architecture, InputError
from search_spaces.residual_norms import zero_last_norms
from search_spaces.single_network import single_network
from search_spaces.supernet import Supernet

RECORD_NAME = "training.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
Start = Literal["inherited", "fresh"]
Report = Callable[[int, int, str], None]  # steps done, of how many, a few words


class SingleResult(Frozen):
    """What a finished training gave, on the validation set."""

    checkpoint_sha256: str
    inherited: Score  # of the supernet's weights, calibrated
    trained: Score
    validation_samples: int


class SingleTraining(Artifact):
    """`training.json`: which architecture is trained alone, from what and how; its result once it
    is finished.
    """

    kind: Literal["single-training"] = "single-training"
    space: str
    architecture_id: str
    values: Mapping[str, int | float | str | bool]
    supernet_sha256: str
    start: Start  # inherited weights, or fresh ones
    teacher: Literal["largest"] | None  # which subnet of the supernet; None: labels alone
    seed: int
    training: Mapping[str, Any]
    result: SingleResult | None = None

    @property
    def config(self) -> TrainingConfig:
        """How it is trained."""
        return settings.read(self.training)


@dataclass(frozen=True)
class Inherited:
    """The trained supernet of a run, and what evaluates its subnets."""

    supernet: Supernet
    evaluator: SubnetEvaluator


def planned(
    run: Run,
    architecture: Architecture,
    config: TrainingConfig,
    *,
    start: Start,
    taught: bool,
    seed: int,
) -> SingleTraining:
    """Return the record of a training that has not begun.

    Raises:
        InputError: the supernet is not trained to the end.
    """
    return SingleTraining(
        space=run.space.name,
        architecture_id=architecture.id,
        values=architecture.values,
        supernet_sha256=supernet_hash(run),
        start=start,
        teacher="largest" if taught else None,
        seed=seed,
        training=settings.written(config),
    )


def train_alone(
    run: Run,
    plan: SingleTraining,
    folder: Path,
    inherited: Callable[[], Inherited],
    report: Report,
) -> SingleTraining:
    """Train one architecture, or go on where it stopped; return its record with the result.

    Args:
        inherited: called where there is something left to do.

    Raises:
        InputError: the folder holds a training of other settings, which are named.
    """
    known = check_same(folder, plan)
    if known is not None and is_finished(folder, known):
        return known
    plan.save(folder / RECORD_NAME)
    source, architecture = inherited(), run.space.architecture(plan.values)
    _train(run, plan, folder, source, architecture, report)
    network, sha256 = load_single(run, architecture, folder)
    evaluator = source.evaluator
    result = SingleResult(
        checkpoint_sha256=sha256,
        inherited=evaluator.score(evaluator.subnet(architecture), architecture, "validation"),
        trained=_score(run, network, architecture),
        validation_samples=len(run.data.validation),
    )
    finished = plan.model_copy(update={"result": result})
    finished.save(folder / RECORD_NAME)
    return finished


def find_record(folder: Path) -> SingleTraining | None:
    """Return the record of a folder, if it is there.

    Raises:
        InputError: damaged.
    """
    path = folder / RECORD_NAME
    return SingleTraining.load(path) if path.exists() else None


def check_same(folder: Path, plan: SingleTraining) -> SingleTraining | None:
    """Return the record of a folder, which must be of the same training, if there is one.

    Raises:
        InputError: it is of another; the settings that differ are named.
    """
    known = find_record(folder)
    if known is None:
        return None
    own = {"tool_version", "result"}
    before, now = (
        {**one.model_dump(mode="json", exclude=own), "training": settings.written(one.config)}
        for one in (known, plan)
    )
    if names := differing_keys(before, now):
        raise InputError(
            f"{folder} holds a training with other settings (it differs in {', '.join(names)}); "
            "give the same ones, or delete it"
        )
    return known


def is_finished(folder: Path, record: SingleTraining) -> bool:
    """Tell whether the weights that a record's result is of are there."""
    if record.result is None:
        return False
    try:
        state = read_state(folder / CHECKPOINT_NAME)
    except InputError:
        return False  # gone or damaged: the trainer takes up the checkpoint before it
    return bool(state["sha256"] == record.result.checkpoint_sha256)


def load_single(
    run: Run, architecture: Architecture, folder: Path, way_out: str = "delete it to train anew"
) -> tuple[Supernet, str]:
    """Return the network of one architecture with the weights of a checkpoint, and its SHA-256.

    Raises:
        InputError: absent, damaged, or of another architecture.
    """
    path = folder / CHECKPOINT_NAME
    tensors, state = load_checkpoint(path, run.space.name, way_out)
    with torch.random.fork_rng(devices=[]):
        network = Supernet(run.space, only=architecture)
    load_weights(network, tensors, path)
    return network.to(memory_format=torch.channels_last), str(state["sha256"])  # type: ignore[call-overload]


def _train(
    run: Run,
    plan: SingleTraining,
    folder: Path,
    source: Inherited,
    architecture: Architecture,
    report: Report,
) -> None:
    config = plan.config
    task = make_task(run.recipe.model_copy(update={"training": config}))
    teachers = [largest_teacher("largest", source.supernet, run, config)] if plan.teacher else []
    network = _starting_network(run, plan, source, architecture)
    evaluator = subnet_evaluator(run, network)

    def evaluate(_: Supernet) -> dict[str, float]:
        score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
        return {"validation_accuracy": score.accuracy, "validation_loss": score.loss}

    trainer = Trainer(
        network,
        run.data,
        task,
        config,
        plan.seed,
        Alone(architecture, taught=bool(teachers)),
        checkpoint_path=folder / CHECKPOINT_NAME,
        metrics=AppendLog(folder / "metrics.jsonl"),
        evaluate=evaluate,
        teachers=teachers,
        device=training_device(config.device),
    )
    damage = trainer.resume()
    if damage is not None:
        say(f"            {damage}")
    trainer.train(lambda done, note: report(done, trainer.num_steps, note))


def _starting_network(
    run: Run, plan: SingleTraining, source: Inherited, architecture: Architecture
) -> Supernet:
    if plan.start == "inherited":
        return single_network(source.supernet, architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = Supernet(run.space, only=architecture)
    if run.recipe.training.zero_last_norm:
        zero_last_norms(network)
    return network


def _score(run: Run, network: Supernet, architecture: Architecture) -> Score:
    evaluator = subnet_evaluator(run, network)
    return evaluator.score(evaluator.subnet(architecture), architecture, "validation")

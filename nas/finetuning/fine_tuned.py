"""Fine-tuned subnets of a run, and which weights a subnet is exported with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.artifacts import load_supernet, subnet_evaluator, supernet_hash
from nas.finetuning.settings import fine_tuning
from nas.finetuning.single_training import (
    Inherited,
    Report,
    SingleTraining,
    check_same,
    find_record,
    load_single,
    planned,
    train_alone,
)
from nas.progress import say
from nas.results import WeightsKind
from nas.run_directory import Run
from nas.subnet.evaluator import SubnetEvaluator
from search_spaces import Architecture, InputError
from search_spaces.supernet import Supernet


@dataclass(frozen=True)
class Weights:
    """What subnets are extracted from: a supernet, or the fine-tuned network of one of them.

    Args:
        checkpoint_sha256: of the fine-tuned network; None where weights are inherited.
    """

    network: Supernet
    evaluator: SubnetEvaluator
    checkpoint_sha256: str | None = None

    @property
    def kind(self) -> WeightsKind:
        """Name them as manifests do."""
        return "inherited" if self.checkpoint_sha256 is None else "fine-tuned"


def fine_tune(
    run: Run,
    architecture: Architecture,
    epochs: int,
    learning_rate: float | None,
    settings: Mapping[str, Any],
    report: Report,
) -> SingleTraining:
    """Train a subnet's inherited weights on, or go on where that stopped.

    It learns from labels and from the supernet's largest subnet; the largest itself from labels.

    Raises:
        InputError: the supernet is not trained to the end; a bad setting; a fine-tuning of this
            subnet with other settings.
    """
    config = fine_tuning(run.recipe.training, epochs, learning_rate, settings)
    taught = architecture != run.space.decode(run.space.largest()[0])
    plan = planned(
        run, architecture, config, start="inherited", taught=taught, seed=run.recipe.seed
    )
    folder = folder_of(run, architecture)
    check_same(folder, plan)
    return train_alone(run, plan, folder, lambda: load_inherited(run), report)


def load_inherited(run: Run) -> Inherited:
    """Load the trained supernet.

    Raises:
        InputError: it is not trained to the end.
    """
    supernet = load_supernet(run)
    return Inherited(supernet, subnet_evaluator(run, supernet))


def folder_of(run: Run, architecture: Architecture) -> Path:
    """Return the folder of an architecture's fine-tuning."""
    return run.finetuned_path / architecture.id


def fine_tuned_hash(run: Run, architecture_id: str) -> str | None:
    """Return the SHA-256 of an architecture's fine-tuned weights; None without finished ones of
    the supernet as it is now.
    """
    record = find_record(run.finetuned_path / architecture_id)
    if record is None or record.result is None or record.supernet_sha256 != supernet_hash(run):
        return None
    return record.result.checkpoint_sha256


def best_weights(run: Run, architecture: Architecture, inherited: Inherited) -> Weights:
    """Return the fine-tuned weights of an architecture where they are finished, else inherited
    ones, and say so where a fine-tuning was begun.

    Raises:
        InputError: the fine-tuned weights are gone or damaged.
    """
    folder = folder_of(run, architecture)
    wanted = fine_tuned_hash(run, architecture.id)
    if wanted is None:
        if find_record(folder) is not None:
            say(f"            {_why_not(folder, supernet_hash(run))}; inherited weights are taken")
        return Weights(inherited.supernet, inherited.evaluator)
    way_out = f"delete {folder} and fine-tune anew, or take inherited weights (--inherited)"
    network, found = load_single(run, architecture, folder, way_out)
    if found != wanted:
        raise InputError(f"{folder}: the checkpoint is not the finished one; {way_out}")
    return Weights(network, subnet_evaluator(run, network), wanted)


def fine_tuned_records(run: Run) -> list[SingleTraining]:
    """Return the records of all fine-tuned subnets, finished or not.

    Raises:
        InputError: a damaged one.
    """
    return _records(run.finetuned_path, "*")


def trained_alone(run: Run) -> list[SingleTraining]:
    """Return the records of everything that was trained alone, in audits too.

    Raises:
        InputError: a damaged one.
    """
    return fine_tuned_records(run) + _records(run.audit_path, "*/*")


def _records(folder: Path, pattern: str) -> list[SingleTraining]:
    found = (find_record(one) for one in sorted(folder.glob(pattern)))
    return [record for record in found if record is not None]


def _why_not(folder: Path, supernet_sha256: str) -> str:
    record = find_record(folder)
    assert record is not None
    if record.supernet_sha256 != supernet_sha256:
        return f"{folder} was fine-tuned from another supernet"
    return f"{folder} is not finished (`nas finetune` goes on)"

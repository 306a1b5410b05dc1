"""A training tried out: real steps of a recipe at several epochs, and what all of it would take."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch

from nas.config import Recipe
from nas.data import Dataset, generated_data, is_there
from nas.progress import progress_bar
from nas.run_directory import Run, load_recipe_data, torch_threads, unwritten_run
from nas.supernet_trainer import supernet_trainer
from nas.task import make_task
from nas.training.batches import shared_batch
from nas.training.device import training_device
from nas.training.metrics import Record
from nas.training.ranks import Ranks
from nas.training.trainer import Trainer
from search_spaces import InputError, SearchSpace, build_space, space_modality

STEPS = 3
GENERATED = "generated"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the training, where steps are tried


@dataclass(frozen=True)
class TriedEpoch:
    """Steps at one epoch: their mean seconds (without the first, if there are more), and losses."""

    epoch: int
    seconds_per_step: float
    losses: dict[str, float]  # by role


@dataclass(frozen=True)
class DryRun:
    """What was tried, and what the whole training would take. Seconds of steps are of one process,
    without what several spend on sending gradients.
    """

    data: str  # the source; or that it was generated, and why
    num_samples: int | None  # of training; None: not known
    device: str
    parameters: int
    batch_size: int
    processes: int
    epochs: int
    tried: tuple[TriedEpoch, ...]
    seconds_per_step: float  # mean over the training
    samples_per_second: float  # of all processes
    seconds_per_evaluation: float
    num_evaluations: int
    seconds: float | None  # of the whole training; without evaluations where data were generated
    peak_bytes: int  # of the GPU; else of this process

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values for the screen."""
        shared = f", one of {self.processes} processes" if self.processes > 1 else ""
        rows = [
            ("data", self.data),
            ("device", self.device + shared),
            ("parameters", f"{self.parameters:,}"),
            ("peak memory", f"{self.peak_bytes / 2**30:.2f} GiB"),
        ]
        for one in self.tried:
            losses = ", ".join(f"{role} {loss:.3f}" for role, loss in one.losses.items())
            rows.append(
                (
                    f"epoch {one.epoch} of {self.epochs}",
                    f"{one.seconds_per_step:.3f} s a step; losses: {losses}",
                )
            )
        rows += [
            ("a step of training", f"{self.seconds_per_step:.3f} s, batch {self.batch_size:,}"),
            ("images or the like", f"{self.samples_per_second:,.0f} a second"),
            (
                "an evaluation",
                f"{self.seconds_per_evaluation:.1f} s, {self.num_evaluations} in all",
            ),
        ]
        if self.seconds is None or self.num_samples is None:
            return [*rows, ("all of it", "not known; give --samples N")]
        of = f"{self.num_samples:,} samples, {self.epochs} epochs"
        without = ", without evaluations" if self.data.startswith(GENERATED) else ""
        return [*rows, ("all of it", f"{_duration(self.seconds)} ({of}{without})")]


class _OneOf(Ranks):
    """The first of several processes, without the others."""

    def __init__(self, size: int) -> None:
        self.size = size


class _NotWritten:
    """Takes records and keeps none."""

    def append(self, record: Record) -> None:
        """Drop a record."""

    def keep_first(self, count: int) -> None:
        """Do nothing."""


def try_training(
    recipe: Recipe,
    check_space: Callable[[SearchSpace], None],
    *,
    steps: int = STEPS,
    samples: int | None = None,
    processes: int = 1,
) -> DryRun:
    """Run `steps` real steps at five epochs of a recipe's training, and an evaluation.

    Where the data are not there, random samples of the space's own sizes and classes stand in.
    Nothing is written.

    Args:
        check_space: raises where the space that follows from the data cannot be used.
        samples: of training, to estimate by; those of the data without.
        processes: of the training; one is tried, with its part of every batch.

    Raises:
        InputError: a setting that does not fit, nothing to train, or losses that are not finite.
    """
    if recipe.training.epochs == 0:
        raise InputError(
            f"{recipe.name} trains nothing (training.epochs is 0); there is nothing to try"
        )
    device = training_device(recipe.training.device)
    shared_batch(recipe.training.batch_size, processes)  # before data are loaded
    with torch_threads(recipe.threads), progress_bar("dry run", len(SHARES)) as advance:
        run, num_samples, words = _run_to_try(recipe, check_space, steps)
        trainer = supernet_trainer(run, _NotWritten(), _OneOf(processes))
        tried = []
        for epoch in _epochs(recipe):
            tried.append(_try_epoch(trainer, epoch, device))
            words_of_epoch = f"epoch {tried[-1].epoch}: {tried[-1].seconds_per_step:.3f} s a step"
            advance(len(tried), words_of_epoch)
        start = time.perf_counter()
        trainer.evaluate()
        seconds_per_evaluation, named = time.perf_counter() - start, _named(device)
    num_samples = samples or num_samples
    batch_size, config = recipe.training.batch_size, recipe.training
    seconds_per_step = _mean_over_training(tuple(tried), config.epochs)
    num_evaluations = -(-config.epochs // config.evaluate_every)
    seconds = None
    if num_samples is not None:
        steps_per_epoch = max(1, num_samples // batch_size)
        seconds = seconds_per_step * steps_per_epoch * config.epochs
        if not words.startswith(GENERATED):
            seconds += seconds_per_evaluation * num_evaluations
    return DryRun(
        data=words,
        num_samples=num_samples,
        device=named,
        parameters=sum(one.numel() for one in trainer.supernet.parameters()),
        batch_size=batch_size,
        processes=processes,
        epochs=config.epochs,
        tried=tuple(tried),
        seconds_per_step=seconds_per_step,
        samples_per_second=batch_size / seconds_per_step,
        seconds_per_evaluation=seconds_per_evaluation,
        num_evaluations=num_evaluations,
        seconds=seconds,
        peak_bytes=_peak_bytes(device),
    )


def _run_to_try(
    recipe: Recipe, check_space: Callable[[SearchSpace], None], steps: int
) -> tuple[Run, int | None, str]:
    """Return a run on as many samples as the steps take, how many there are, and their source."""
    task, wanted = make_task(recipe), steps * recipe.training.batch_size
    data: Dataset
    if is_there(recipe.data.source):
        data, words = load_recipe_data(recipe), recipe.data.source
        num_samples = len(data.train)
        if num_samples > wanted:
            index = np.linspace(0, num_samples - 1, wanted).astype(np.intp)
            data = replace(data, train=data.train.take(index))
    else:
        data, num_samples = _generated(recipe, wanted), None
        words = f"{GENERATED}: {recipe.data.source} is not here"
    path = Path(gettempdir()) / "dry-run"  # which nothing writes to
    return unwritten_run(path, recipe, data, task, check_space), num_samples, words


def _generated(recipe: Recipe, num_samples: int) -> Dataset:
    """Return random data for the recipe's space.

    Raises:
        InputError: a task or space of the user's own, whose targets are not known.
    """
    modality = space_modality(recipe.space.name)
    sizes = {"vocabulary": recipe.data.vocabulary, "length": recipe.data.length}
    space = build_space(recipe.space.name, **(sizes if modality == "tokens" else {}))
    if not recipe.task.classification or "num_classes" not in space.settings:
        raise InputError(
            f"{recipe.data.source} is not here, and only samples with classes can be generated; "
            "bring the data"
        )
    return generated_data(space, modality, num_samples, recipe.seed)


def _epochs(recipe: Recipe) -> list[int]:
    last = recipe.training.epochs - 1
    return sorted({round(share * last) for share in SHARES})


def _try_epoch(trainer: Trainer, epoch: int, device: torch.device) -> TriedEpoch:
    """Time the steps of an epoch.

    Raises:
        InputError: no loss is finite.
    """
    times = [time.perf_counter()]

    def clock(_: int, __: str) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())

    record = trainer.try_epoch(epoch, clock)
    if record["loss"] is None:
        raise InputError(
            f"no loss of the steps in epoch {epoch + 1} is finite; lower training.learning_rate"
        )
    seconds = np.diff(times)
    return TriedEpoch(epoch + 1, float(seconds[min(1, len(seconds) - 1) :].mean()), _given(record))


def _given(record: dict[str, Any]) -> dict[str, float]:
    return {role: loss for role, loss in record["losses"].items() if loss is not None}


def _mean_over_training(tried: tuple[TriedEpoch, ...], epochs: int) -> float:
    """Interpolate between the epochs that were tried."""
    known = [one.epoch for one in tried]
    seconds = [one.seconds_per_step for one in tried]
    return float(np.interp(np.arange(1, epochs + 1), known, seconds).mean())


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

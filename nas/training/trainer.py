"""The training loop, resumable at every step with the same result as uninterrupted."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from nas.config import TrainingConfig
from nas.data import Dataset
from nas.results import metric_text
from nas.task import Task
from nas.training.checkpoints import Checkpoints, Loaded
from nas.training.collapse import Collapse
from nas.training.draws import Draws
from nas.training.memory import memory_for
from nas.training.metrics import Metrics
from nas.training.ranks import Ranks
from nas.training.resuming import check_finished, check_sources, is_of_earlier_version
from nas.training.starting_weights import load_weights, start_from
from nas.training.steps import Steps
from nas.training.strategy import Judge, Strategy
from nas.training.tally import Tally
from nas.training.teachers import Teacher
from search_spaces import InputError
from search_spaces.errors import UnfinishedError
from search_spaces.supernet import Supernet

Made = TypeVar("Made")
Evaluate = Callable[[Supernet], dict[str, float]]
Report = Callable[[int, str], None]  # steps done, a few words

STEPS_BETWEEN_LOOKS = 10  # at what the guard found, which waits for the device
BAD_STEPS_IN_A_ROW = 10  # and training goes back
ROLL_BACKS = 3  # to one checkpoint, and training ends


class Trainer:
    """Trains a supernet in place: epochs of steps, checkpoints, and ways back where it goes wrong.

    Args:
        supernet: its weights are the start; it is moved to the device, channels last in memory.
        data: training samples.
        task: what the outputs are to be.
        config: as in the recipe.
        seed: of everything random.
        strategy: what a step trains.
        checkpoint_path: written after every epoch and within long ones; found there, training goes
            on from it.
        metrics: gets a record of every epoch, and of what the guards did.
        evaluate: called every `config.evaluate_every` epochs and after the last; its figures join
            the record. "smallest_accuracy" among them is watched.
        teachers: external ones, of which every step draws one (stochastic distillation). Subnets
            that learn from a teacher learn from it; those that learn from labels learn from both.
        judge: expected losses of genomes; without, those of a mini-batch.
        sources: SHA-256 by name of what training takes from elsewhere (None: not known); a training
            that goes on must find them the same.
        ranks: the processes that train together; each takes its part of every batch.

    Raises:
        InputError: an unknown optimiser, augmentation that targets do not follow, a precision that
            the device lacks, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        task: Task,
        config: TrainingConfig,
        seed: int,
        strategy: Strategy,
        *,
        checkpoint_path: Path,
        metrics: Metrics,
        evaluate: Evaluate,
        teachers: Sequence[Teacher] = (),
        judge: Judge | None = None,
        sources: Mapping[str, str | None] = MappingProxyType({}),
        device: torch.device | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks, self._device = ranks or Ranks(), device or torch.device("cpu")
        self._draws, self._sources = Draws(seed), dict(sources)
        self._steps = Steps(
            supernet,
            data,
            task,
            config,
            strategy,
            teachers=teachers,
            judge=judge,
            draws=self._draws,
            device=self._device,
            ranks=self._ranks,
        )
        self.supernet = self._steps.supernet
        self._task, self._config, self._seed = task, config, seed
        self._strategy = strategy
        self._metrics, self._evaluate = metrics, evaluate
        self._checkpoints = Checkpoints(checkpoint_path, supernet.space.name)
        self._collapse = Collapse(task, data.num_classes)
        self.next_epoch, self.next_step = 0, 0
        self._in_vain, self._bad_steps = 0, 0
        self._tally = Tally(self._device)
        self._records = 0  # in the metrics
        self._saved_at, self._ends_at = time.monotonic(), math.inf
        self._note = ""  # figures of the last epoch, in words

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every epoch."""
        return self._steps.per_epoch

    @property
    def _samples_per_epoch(self) -> int:
        return self._steps.per_epoch * self._steps.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self._config.epochs

    def resume(self) -> str | None:
        """Take up the last checkpoint if there is one, else the weights that the recipe names.

        Returns:
            Why an earlier checkpoint than the last was taken, if so.

        Raises:
            InputError: no checkpoint that is there is whole, or it is of another space or shape.
        """
        return self._as_first(self._resume)

    def _resume(self) -> str | None:
        loaded, reason = self._checkpoints.load()
        epochs, path = self._config.epochs, self._checkpoints.path
        if loaded is not None and is_of_earlier_version(loaded, self._steps.tensors()):
            check_finished(loaded[1], epochs, path)
            self.next_epoch = int(loaded[1]["epoch"])
            return reason
        if loaded is not None:
            check_sources(loaded[1], self._sources, epochs, path)
            self._take_up(loaded)
            self._records = int(loaded[1]["records"])
        self._metrics.keep_first(self._records)
        if loaded is not None:
            return "; ".join(filter(None, (reason, self._other_processes(loaded[1])))) or None
        if self._config.weights is not None:
            weights = Path(self._config.weights)
            start_from(self.supernet, weights, self._config.kernel_transform)
        self._save(good=True)
        return None

    def _other_processes(self, state: Mapping[str, Any]) -> str | None:
        """Say, and record, that other numbers of processes share a batch now."""
        before, now = int(state["processes"]), self._ranks.size
        if before == now:
            return None
        self._append(
            {"event": "processes", "epoch": self.next_epoch + 1, "from": before, "to": now}
        )
        return f"{before} processes began this training, now {now} go on: not the same bit for bit"

    def _as_first(self, change: Callable[[], Made]) -> Made:
        """Let the first process change weights and state, and all others take up what it has: what
        hangs on files or roundings is then the same on all.
        """
        made = self._ranks.from_first(change)
        tensors = self._ranks.tensors_from_first(self._steps.tensors())
        state = self._ranks.from_first(self._state)
        if not self._ranks.is_first:
            self._take_up((tensors, state))
        return made

    def train(self, report: Report = lambda done, note: None, ends_at: float = math.inf) -> None:
        """Train from where it stands to the last epoch.

        Args:
            ends_at: of `time.monotonic`, when to stop with a checkpoint.

        Raises:
            InputError: the loss stays bad after roll-backs, or there is too little memory.
            UnfinishedError: it is `ends_at`.
        """
        self._ends_at = ends_at
        while self.next_epoch < self._config.epochs:
            reason = self._train_epoch(report) or self._end_epoch()
            if reason is not None:
                self._roll_back(reason)
            if self.next_epoch < self._config.epochs:
                self._stop_in_time()

    def try_epoch(self, epoch: int, report: Report) -> dict[str, Any]:
        """Train through one epoch, whatever came before, and return its figures; of the trainer's
        own nothing is written.
        """
        self.next_epoch, self.next_step = epoch, 0
        self._tally, self._saved_at = Tally(self._device), math.inf
        self._train_epoch(report)
        return self._tally.record(self._samples_per_epoch)

    def evaluate(self) -> dict[str, float]:
        """Return the figures of an evaluation now.

        Raises:
            InputError: there is too little memory.
        """
        with memory_for(
            "while subnets are evaluated",
            "set training.device=cpu, or take fewer validation or calibration samples",
        ):
            return self._evaluate(self.supernet)

    def _end_epoch(self) -> str | None:
        """Record the epoch and evaluate where it is time; return why to go back, if so."""
        epoch = self.next_epoch + 1
        record: dict[str, Any] = {
            "epoch": epoch,
            **self._ranks.from_first(lambda: self._tally.record(self._samples_per_epoch)),
            "learning_rate": self._steps.learning_rate,
        }
        self._collect_bad_steps()
        if record["loss"] is None:
            return "every loss of the epoch was not finite or jumped"
        evaluated = epoch == self._config.epochs or epoch % self._config.evaluate_every == 0
        if evaluated:
            record |= self._ranks.from_first(self.evaluate)
            trained = self._strategy.trains_all((epoch - 1) / self._config.epochs)
            collapsed = self._collapse.look(record) if trained else None
            if collapsed is not None:
                return collapsed
        self._append(record)
        self.next_epoch, self.next_step = epoch, 0
        self._tally = Tally(self._device)
        if evaluated:
            self._in_vain = 0
        self._save(good=evaluated)
        self._note = _note(record, self._note, self._task.metric)
        return None

    def _train_epoch(self, report: Report) -> str | None:
        """Train the rest of an epoch; return why to go back, if so."""
        epoch = self.next_epoch
        self.supernet.train()
        if self.next_step == 0 and self._strategy.sorts_channels(epoch, self._config.epochs):
            self._as_first(self._sort_channels)
        order = self._steps.order(epoch)
        for step in range(self.next_step, self.steps_per_epoch):
            self._steps.take(order, epoch, step, self._tally)
            self.next_step = step + 1
            report(epoch * self.steps_per_epoch + step + 1, self._note)
            if (step + 1) % STEPS_BETWEEN_LOOKS == 0:
                bad = self._ranks.from_first(lambda: self._steps.guard.bad_in_a_row)
                if bad >= BAD_STEPS_IN_A_ROW:
                    return f"{bad} losses in a row were not finite or jumped"
            if self.next_step < self.steps_per_epoch:
                self._save_within()
                self._stop_in_time()
        return None

    def _sort_channels(self) -> None:
        weights = self._steps.sort_channels()
        words = {"event": "channels sorted", "epoch": self.next_epoch + 1, "weights": weights}
        self._append(words)

    def _collect_bad_steps(self) -> None:
        """Record the bad steps since the last record of them."""
        found = self._steps.guard.bad_steps - self._bad_steps
        if found:
            self._bad_steps += found
            self._append({"event": "skipped", "epoch": self.next_epoch + 1, "steps": found})

    def _roll_back(self, reason: str) -> None:
        """Go back to the last good checkpoint, with a lower learning rate and other draws.

        Raises:
            InputError: that has been tried, in vain.
        """
        epoch = self.next_epoch + 1
        self._collect_bad_steps()
        if self._in_vain == ROLL_BACKS:
            raise InputError(
                f"training stopped in epoch {epoch}: {reason}, also after {ROLL_BACKS} roll-backs "
                "with lower learning rates; start another run (--out) with a lower "
                "training.learning_rate or training.clip_norm" + self._task.hint_at_functions
            )
        counts = self._draws.roll_backs + 1, self._in_vain + 1
        self._as_first(lambda: self._take_up(self._checkpoints.load_good()))
        self._draws.roll_backs, self._in_vain = counts
        self._append(
            {
                "event": "roll-back",
                "epoch": epoch,
                "reason": reason,
                "to_epoch": self.next_epoch,
                "learning_rate_factor": self._steps.rate_factor,
            }
        )
        self._save(good=False)

    def _append(self, record: dict[str, Any]) -> None:
        self._records += 1
        if self._ranks.is_first:
            self._metrics.append(record)

    def _save_within(self) -> None:
        """Write a checkpoint within a long epoch when it is time."""
        minutes = (time.monotonic() - self._saved_at) / 60
        if minutes >= self._config.checkpoint_minutes:
            self._save(good=False)

    def _stop_in_time(self) -> None:
        """Stop with a checkpoint when the time is over; all processes do at the same step.

        Raises:
            UnfinishedError: it is over.
        """
        if self._ends_at == math.inf:
            return
        if self._ranks.from_first(lambda: time.monotonic() < self._ends_at):
            return
        self._ranks.from_first(lambda: self._save(good=False))
        done = self.next_epoch * self.steps_per_epoch + self.next_step
        raise UnfinishedError(
            f"trained {done} of {self.num_steps} steps ({done / self.num_steps:.0%}), epoch "
            f"{self.next_epoch + 1} of {self._config.epochs}; the same command goes on"
        )

    def _save(self, good: bool) -> None:
        self._saved_at = time.monotonic()
        if self._ranks.is_first:
            self._checkpoints.save(self._steps.tensors(), self._state(), good)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.next_epoch,
            "step": self.next_step,
            "epochs": self._config.epochs,
            "seed": self._seed,
            "settings": dict(self.supernet.space.settings),
            "processes": self._ranks.size,
            "sources": self._sources,
            "kernel_transform": self._config.kernel_transform,
            "records": self._records,
            "roll_backs": self._draws.roll_backs,
            "in_vain": self._in_vain,
            "bad_steps": self._bad_steps,
            "best": self._collapse.best,
            "tally": self._tally.state() if self.next_step else None,
        }

    def _take_up(self, loaded: Loaded) -> None:
        """Put everything back as a checkpoint has it."""
        tensors, state = loaded
        load_weights(self.supernet, tensors, self._checkpoints.path)
        self._steps.restore(tensors)
        self.next_epoch, self.next_step = int(state["epoch"]), int(state["step"])
        self._draws.roll_backs, self._in_vain = int(state["roll_backs"]), int(state["in_vain"])
        self._bad_steps, self._collapse.best = int(state["bad_steps"]), float(state["best"])
        self._tally = Tally(self._device, state["tally"])


def _note(record: dict[str, Any], earlier: str, metric: str) -> str:
    words = f"loss {record['loss']:.3f}  {record['samples_per_second']:.0f} samples/s"
    if "smallest_accuracy" in record:
        smallest, largest = (
            metric_text(metric, record[f"{name}_accuracy"], 1) for name in ("smallest", "largest")
        )
        return f"{words}  smallest {smallest}  largest {largest}"
    _, found, accuracies = earlier.partition("  smallest")
    return words + found + accuracies

"""The training loop, resumable at every step with the same result as uninterrupted."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.data import Dataset, check_augmentation
from nas.results import metric_text
from nas.task import Task
from nas.training.batches import Batches, shared_batch
from nas.training.checkpoints import Checkpoints, Loaded
from nas.training.collapse import Collapse
from nas.training.draws import Drawn, Draws
from nas.training.guard import Guard, comparable
from nas.training.memory import memory_for
from nas.training.metrics import Metrics
from nas.training.optimizers import (
    OPTIMIZERS,
    optimizer_tensors,
    parameter_groups,
    reorder_state,
    restore_optimizer,
    take_step,
)
from nas.training.passes import Passes, Place
from nas.training.precision import check_precision
from nas.training.ranks import Ranks
from nas.training.schedules import learning_rate
from nas.training.starting_weights import load_weights, start_from
from nas.training.strategy import StepContext, Strategy
from nas.training.tally import Tally
from nas.training.teachers import Teacher
from search_spaces import InputError, Population, unknown_name
from search_spaces.channel_order import sort_channels
from search_spaces.errors import UnfinishedError
from search_spaces.supernet import Supernet

Made = TypeVar("Made")
Evaluate = Callable[[Supernet], dict[str, float]]
Report = Callable[[int, str], None]  # steps done, a few words
Judge = Callable[[Population], npt.NDArray[np.float64]]  # n x d -> n, lower is better

STEPS_BETWEEN_LOOKS = 10  # at what the guard found, which waits for the device
BAD_STEPS_IN_A_ROW = 10  # and training goes back
ROLL_BACKS = 3  # to one checkpoint, and training ends
ROLL_BACK_RATE = 0.5  # of the learning rate before


class Trainer:
    """Trains a supernet in place.

    Everything random is drawn from the seed and the place (epoch, step) where it is needed, so that
    a step is the same whether the process ran before or has just started.

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
        if config.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
        check_augmentation(data, config)
        self._ranks = ranks or Ranks()
        self._batch_size = shared_batch(min(config.batch_size, len(data.train)), self._ranks.size)
        self._device = device or torch.device("cpu")
        check_precision(config.precision, self._device)
        self.supernet = supernet.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._data, self._task, self._config, self._seed = data, task, config, seed
        self._draws, self._sources = Draws(seed), dict(sources)
        placed = [teacher.to(self._device) for teacher in teachers]
        self._passes = Passes(supernet, task, config, placed, self._draws)
        self._strategy = strategy
        self._judge = self._fresh_losses if judge is None else self._judge_of_first(judge)
        self._metrics, self._evaluate = metrics, evaluate
        self._checkpoints = Checkpoints(checkpoint_path, supernet.space.name)
        self._batches = Batches(data, config, self._device)
        self._optimizer = OPTIMIZERS[config.optimizer](
            parameter_groups(supernet, config.weight_decay), config
        )
        self.steps_per_epoch = len(data.train) // self._batch_size
        self.next_epoch, self.next_step = 0, 0
        self._guard, self._collapse = Guard(self._device), Collapse(task, data.num_classes)
        self._in_vain, self._bad_steps = 0, 0
        self._tally = Tally(self._device)
        self._records = 0  # in the metrics
        self._saved_at, self._ends_at = time.monotonic(), math.inf
        self._note = ""  # figures of the last epoch, in words

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
        if loaded is not None and self._is_of_earlier_version(loaded):
            self._finished_earlier(loaded[1])
            return reason
        if loaded is not None:
            self._check_sources(loaded[1])
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

    def _check_sources(self, state: Mapping[str, Any]) -> None:
        """Check that what training takes from elsewhere is as it was when it began.

        Raises:
            InputError: something is not, and training is not done.
        """
        if state["epoch"] == self._config.epochs:
            return
        before = state["sources"]
        for name in dict.fromkeys([*before, *self._sources]):
            if before.get(name) != self._sources.get(name):
                raise InputError(
                    f"{name} has changed since training began at {self._checkpoints.path}; bring "
                    "the old one back or start another run (--out)"
                )

    def _other_processes(self, state: Mapping[str, Any]) -> str | None:
        """Say, and record, that other numbers of processes share a batch now."""
        before, now = int(state["processes"]), self._ranks.size
        if before == now:
            return None
        self._append(
            {"event": "processes", "epoch": self.next_epoch + 1, "from": before, "to": now}
        )
        return f"{before} processes began this training, now {now} go on: not the same bit for bit"

    def _is_of_earlier_version(self, loaded: Loaded) -> bool:
        tensors, state = loaded
        return "records" not in state or tensors["guard"].shape != self._guard.state.shape

    def _finished_earlier(self, state: Mapping[str, Any]) -> None:
        """Accept a checkpoint of a version that wrote less, if its training is done.

        Raises:
            InputError: it is not.
        """
        if state["epoch"] < self._config.epochs:
            raise InputError(
                f"{self._checkpoints.path}: in the middle of a training by version "
                f"{state.get('tool_version')}, which this one cannot go on with; delete it to "
                "train anew"
            )
        self.next_epoch = int(state["epoch"])

    def _as_first(self, change: Callable[[], Made]) -> Made:
        """Let the first process change weights and state, and all others take up what it has: what
        hangs on files or roundings is then the same on all.
        """
        made = self._ranks.from_first(change)
        tensors = self._ranks.tensors_from_first(self._tensors())
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
        return self._tally.record(self.steps_per_epoch * self._batch_size)

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
        epoch, num_samples = self.next_epoch + 1, self.steps_per_epoch * self._batch_size
        record: dict[str, Any] = {
            "epoch": epoch,
            **self._ranks.from_first(lambda: self._tally.record(num_samples)),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
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
        order = self._draws.rng(Drawn.ORDER, epoch).permutation(len(self._data.train))
        self.supernet.train()
        if self.next_step == 0 and self._strategy.sorts_channels(epoch, self._config.epochs):
            self._as_first(self._sort_channels)
        for step in range(self.next_step, self.steps_per_epoch):
            whole = order[step * self._batch_size : (step + 1) * self._batch_size]
            with memory_for(
                f"in a training step with training.batch_size={self._config.batch_size}",
                "lower it, or training.num_random, or the largest resolution or width of the space",
            ):
                self._step(whole, epoch, step)
            self.next_step = step + 1
            report(epoch * self.steps_per_epoch + step + 1, self._note)
            if (step + 1) % STEPS_BETWEEN_LOOKS == 0:
                bad = self._ranks.from_first(lambda: self._guard.bad_in_a_row)
                if bad >= BAD_STEPS_IN_A_ROW:
                    return f"{bad} losses in a row were not finite or jumped"
            if self.next_step < self.steps_per_epoch:
                self._save_within()
                self._stop_in_time()
        return None

    def _step(self, index: npt.NDArray[np.intp], epoch: int, step: int) -> None:
        """Add up the gradients of what the strategy plans, clip them, and take the step unless it
        is bad.
        """
        epochs, rank = self._config.epochs, self._ranks.rank
        progress = epoch + step / self.steps_per_epoch
        rng = self._draws.rng(Drawn.STEP, epoch, step)
        planned = self._strategy.step(
            StepContext(epoch, epochs, progress / epochs, rng, self._judge)
        )
        for group in self._optimizer.param_groups:
            lowered = ROLL_BACK_RATE**self._draws.roll_backs
            group["lr"] = learning_rate(self._config, progress) * lowered
        generator = self._draws.generator(Drawn.STEP, epoch, step, rank)
        batch = self._batches(self._part(index), generator)
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._passes.add_gradients(planned, batch, Place(epoch, step, rank, progress))
        trained = [one for one in self.supernet.parameters() if one.grad is not None]
        self._ranks.mean_([*(one.grad for one in trained if one.grad is not None), *losses])
        norm = nn.utils.clip_grad_norm_(trained, self._config.clip_norm)
        admitted = self._guard.admits(comparable(planned.subnets, losses), norm)
        take_step(self._optimizer, admitted)
        self._tally.add([subnet.role for subnet in planned.subnets], losses, admitted)

    def _fresh_losses(self, population: Population) -> npt.NDArray[np.float64]:
        """Return the losses of n genomes on a mini-batch that the step does not train on."""
        rng = self._draws.rng(Drawn.FRESH, self.next_epoch, self.next_step)
        index = rng.permutation(len(self._data.train))[: self._batch_size]
        losses = self._passes.losses(population, self._batches(self._part(index), None))
        self._ranks.mean_([losses])
        found: npt.NDArray[np.float64] = losses.cpu().numpy()
        return found

    def _judge_of_first(self, judge: Judge) -> Judge:
        return lambda population: np.array(
            self._ranks.from_first(lambda: judge(population).tolist()), dtype=np.float64
        )

    def _part(self, index: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return this process's part of a batch."""
        return np.split(index, self._ranks.size)[self._ranks.rank]

    def _sort_channels(self) -> None:
        """Sort channels, and let the optimiser follow."""
        orders = sort_channels(self.supernet)
        reorder_state(self._optimizer, self.supernet, orders)
        words = {"event": "channels sorted", "epoch": self.next_epoch + 1, "weights": len(orders)}
        self._append(words)

    def _collect_bad_steps(self) -> None:
        """Record the bad steps since the last record of them."""
        found = self._guard.bad_steps - self._bad_steps
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
                "learning_rate_factor": ROLL_BACK_RATE**self._draws.roll_backs,
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
            self._checkpoints.save(self._tensors(), self._state(), good)

    def _tensors(self) -> dict[str, Tensor]:
        weights = {f"weights.{n}": p for n, p in self.supernet.named_parameters()}
        state = optimizer_tensors(self._optimizer, self.supernet)
        return {**weights, **state, "guard": self._guard.state}

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
        self._optimizer.state.clear()
        restore_optimizer(self._optimizer, self.supernet, tensors)
        self._guard.state = tensors["guard"].to(self._device)
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

"""The training loop, resumable at every step with the same result as uninterrupted."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.data import Dataset, Inputs, check_augmentation
from nas.results import metric_text
from nas.task import Outputs, Task, detached
from nas.training.batches import Batch, Batches
from nas.training.checkpoints import Checkpoints, Loaded
from nas.training.collapse import Collapse
from nas.training.guard import Guard
from nas.training.metrics import Metrics
from nas.training.optimizers import (
    OPTIMIZERS,
    optimizer_tensors,
    parameter_groups,
    reorder_state,
    restore_optimizer,
    take_step,
)
from nas.training.ranks import Ranks
from nas.training.regularisation import dropout_share
from nas.training.schedules import learning_rate
from nas.training.starting_weights import load_weights, start_from
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from nas.training.tally import Tally
from nas.training.teachers import Teacher
from search_spaces import Architecture, InputError, Population, unknown_name
from search_spaces.channel_order import sort_channels
from search_spaces.errors import UnfinishedError
from search_spaces.regularisation import Regularisation
from search_spaces.supernet import Supernet, resize

Made = TypeVar("Made")
Evaluate = Callable[[Supernet], dict[str, float]]
Report = Callable[[int, str], None]  # steps done, a few words
Judge = Callable[[Population], npt.NDArray[np.float64]]  # n x d -> n, lower is better

STEPS_BETWEEN_LOOKS = 10  # at what the guard found, which waits for the device
BAD_STEPS_IN_A_ROW = 10  # and training goes back
ROLL_BACKS = 3  # to one checkpoint, and training ends
ROLL_BACK_RATE = 0.5  # of the learning rate before
ORDER, STEP, FRESH, DROPPED, TEACHER = range(5)  # what is drawn


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
        ranks: the processes that train together; each takes its part of every batch.

    Raises:
        InputError: an unknown optimiser, augmentation that targets do not follow, or a batch that
            the processes cannot share.
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
        device: torch.device | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if config.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
        check_augmentation(data, config)
        self._ranks = ranks or Ranks()
        self._batch_size = shared_batch(min(config.batch_size, len(data.train)), self._ranks.size)
        self._device = device or torch.device("cpu")
        self.supernet = supernet.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._data, self._task, self._config, self._seed = data, task, config, seed
        self._teachers = [teacher.to(self._device) for teacher in teachers]
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
        self._roll_backs, self._in_vain, self._bad_steps = 0, 0, 0
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
        if loaded is not None and "records" not in loaded[1]:
            self._finished_earlier(loaded[1])
            return reason
        if loaded is not None:
            self._take_up(loaded)
            self._records = int(loaded[1]["records"])
        self._metrics.keep_first(self._records)
        if loaded is not None:
            return reason
        if self._config.weights is not None:
            weights = Path(self._config.weights)
            start_from(self.supernet, weights, self._config.kernel_transform)
        self._save(good=True)
        return None

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
        """Return the figures of an evaluation now."""
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
            record |= self._ranks.from_first(lambda: self._evaluate(self.supernet))
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
        order = self._rng(ORDER, epoch).permutation(len(self._data.train))
        self.supernet.train()
        if self.next_step == 0 and self._strategy.sorts_channels(epoch, self._config.epochs):
            self._as_first(self._sort_channels)
        for step in range(self.next_step, self.steps_per_epoch):
            progress = epoch + step / self.steps_per_epoch
            context = StepContext(
                epoch,
                self._config.epochs,
                progress / self._config.epochs,
                self._rng(STEP, epoch, step),
                self._judge,
            )
            planned = self._strategy.step(context)
            rate = learning_rate(self._config, progress) * ROLL_BACK_RATE**self._roll_backs
            for group in self._optimizer.param_groups:
                group["lr"] = rate * planned.learning_rate_factor
            index = self._part(order[step * self._batch_size : (step + 1) * self._batch_size])
            generator = self._generator(STEP, epoch, step, self._ranks.rank)
            with _memory_for(self._config.batch_size):
                self._step(planned, self._batches(index, generator), progress)
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

    def _step(self, planned: TrainingStep, batch: Batch, progress: float) -> None:
        """Add up the gradients of all subnets, clip them, and take the step unless it is bad."""
        inputs, targets = batch
        self._optimizer.zero_grad(set_to_none=True)
        teacher = self._untrained_teacher(planned, inputs)
        losses = []
        for i, subnet in enumerate(planned.subnets):
            regularisation = self._regularisation(subnet, progress, i)
            outputs = self._run(inputs, subnet.architecture, regularisation)
            terms = self._losses(subnet, outputs, targets, teacher)
            (torch.stack(terms).sum() * subnet.loss_weight).backward()  # type: ignore[no-untyped-call]
            if teacher is None:
                teacher = detached(outputs)
            losses.append(terms[0].detach())
        trained = [one for one in self.supernet.parameters() if one.grad is not None]
        self._ranks.mean_([*(one.grad for one in trained if one.grad is not None), *losses])
        norm = nn.utils.clip_grad_norm_(trained, self._config.clip_norm)
        comparable = planned.subnets[0].role == "largest"
        admitted = self._guard.admits(losses[0], norm, comparable)
        take_step(self._optimizer, admitted)
        self._tally.add([subnet.role for subnet in planned.subnets], losses, admitted)

    def _run(
        self,
        inputs: Inputs,
        architecture: Architecture,
        regularisation: Regularisation | None = None,
    ) -> Outputs:
        sized = resize(inputs, self.supernet.inputs(architecture).values())
        outputs: Outputs = self.supernet(sized, architecture, regularisation)
        return outputs

    def _losses(
        self, subnet: TrainingSubnet, outputs: Outputs, targets: Tensor, teacher: Outputs | None
    ) -> list[Tensor]:
        """Return the terms of a subnet's loss: that of the labels, if any, comes first."""
        terms = []
        if subnet.learns_from != "teacher":
            terms.append(self._task.training_loss(outputs, targets))
        if subnet.learns_from != "labels" or self._teachers:
            assert teacher is not None, "a step's first subnet has no teacher unless it names one"
            terms.append(self._task.distillation_loss(outputs, teacher))
        return terms

    def _untrained_teacher(self, planned: TrainingStep, inputs: Inputs) -> Outputs | None:
        """Return the outputs of a teacher that the step does not train."""
        if self._teachers:
            rng = self._rng(TEACHER, self.next_epoch, self.next_step)
            teacher = self._teachers[rng.integers(len(self._teachers))]
            outputs: Outputs = teacher(inputs)
            return outputs
        if planned.teacher is None or planned.teacher == planned.subnets[0].architecture:
            return None
        with torch.no_grad():
            return self._run(inputs, planned.teacher)

    def _regularisation(
        self, subnet: TrainingSubnet, progress: float, place_in_step: int
    ) -> Regularisation | None:
        """Return what to drop at a progress in epochs: paths linearly more (arXiv:1707.07012)."""
        config, share = self._config, subnet.regularisation
        if config.adaptive_dropout:
            space = self.supernet.space
            share = float(dropout_share(space, space.encode(subnet.architecture))[0])
        drop_path = config.drop_path * subnet.regularisation * progress / config.epochs
        dropout = config.dropout * share
        if not (drop_path or dropout):
            return None
        place = (self.next_epoch, self.next_step, self._ranks.rank, place_in_step)
        return Regularisation(self._generator(DROPPED, *place), drop_path, dropout)

    def _fresh_losses(self, population: Population) -> npt.NDArray[np.float64]:
        """Return the losses of n genomes on a mini-batch that the step does not train on."""
        rng = self._rng(FRESH, self.next_epoch, self.next_step)
        index = rng.permutation(len(self._data.train))[: self._batch_size]
        inputs, targets = self._batches(self._part(index), None)
        space = self.supernet.space
        with torch.no_grad():
            each = [
                self._task.training_loss(self._run(inputs, space.decode(genome)), targets)
                for genome in population
            ]
        losses = torch.stack(each).double()
        self._ranks.mean_([losses])
        return losses.cpu().numpy()

    def _judge_of_first(self, judge: Judge) -> Judge:
        return lambda population: np.array(
            self._ranks.from_first(lambda: judge(population).tolist()), dtype=np.float64
        )

    def _part(self, index: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return this process's part of a batch."""
        return np.split(index, self._ranks.size)[self._ranks.rank]

    def _rng(self, *place: int) -> np.random.Generator:
        """Return a generator for one place, another one after every roll-back."""
        return np.random.default_rng([self._seed, self._roll_backs, *place])

    def _generator(self, *place: int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self._rng(*place).integers(2**62)))

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
                "with lower learning rates; lower training.learning_rate or training.clip_norm"
                + self._task.hint_at_functions
            )
        counts = self._roll_backs + 1, self._in_vain + 1
        self._as_first(lambda: self._take_up(self._checkpoints.load_good()))
        self._roll_backs, self._in_vain = counts
        self._append(
            {
                "event": "roll-back",
                "epoch": epoch,
                "reason": reason,
                "to_epoch": self.next_epoch,
                "learning_rate_factor": ROLL_BACK_RATE**self._roll_backs,
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
            "kernel_transform": self._config.kernel_transform,
            "records": self._records,
            "roll_backs": self._roll_backs,
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
        self._roll_backs, self._in_vain = int(state["roll_backs"]), int(state["in_vain"])
        self._bad_steps, self._collapse.best = int(state["bad_steps"]), float(state["best"])
        self._tally = Tally(self._device, state["tally"])


def shared_batch(batch_size: int, num_processes: int) -> int:
    """Check that processes can share a batch evenly, two samples or more each; return its size.

    Raises:
        InputError: they cannot.
    """
    if batch_size % num_processes or batch_size // num_processes < 2:
        raise InputError(
            f"a batch of {batch_size} cannot be shared by {num_processes} processes: expected "
            "training.batch_size to be a multiple of their number, two samples or more each"
        )
    return batch_size


@contextmanager
def _memory_for(batch_size: int) -> Iterator[None]:
    """Say what to lower where memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
            raise
        raise InputError(
            f"out of memory in a training step with training.batch_size={batch_size}; lower it, "
            "or training.num_random, or the largest resolution or width of the space"
        ) from None


def _note(record: dict[str, Any], earlier: str, metric: str) -> str:
    words = f"loss {record['loss']:.3f}  {record['samples_per_second']:.0f} samples/s"
    if "smallest_accuracy" in record:
        smallest, largest = (
            metric_text(metric, record[f"{name}_accuracy"], 1) for name in ("smallest", "largest")
        )
        return f"{words}  smallest {smallest}  largest {largest}"
    _, found, accuracies = earlier.partition("  smallest")
    return words + found + accuracies

"""The training loop, resumable at every epoch with the same result as uninterrupted."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.append_log import AppendLog
from nas.config import TrainingConfig
from nas.data import Dataset, check_augmentation
from nas.results import metric_text
from nas.task import Outputs, Task, detached
from nas.training import STRATEGIES
from nas.training.batches import Batch, training_batch
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.training.optimizers import (
    OPTIMIZERS,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
)
from nas.training.starting_weights import load_weights, start_from
from nas.training.strategy import TrainingSubnet
from search_spaces import InputError, unknown_name
from search_spaces.regularisation import Regularisation
from search_spaces.supernet import Supernet, resize

Evaluate = Callable[[Supernet], dict[str, float]]
Report = Callable[[int, str], None]  # steps done, a few words


class Trainer:
    """Trains a supernet in place.

    Everything random in an epoch (order, augmentation, architectures) is drawn from (seed, epoch),
    so an epoch is the same whether the process ran before or has just started.

    Args:
        supernet: its weights are the start; channels are put last in memory.
        data: training samples.
        task: what the outputs are to be.
        config: as in the recipe.
        seed: of everything random.
        checkpoint_path: written after every epoch; found there, training goes on from it.
        metrics: gets one record an epoch.
        evaluate: called every `config.evaluate_every` epochs and after the last; its figures join
            the record (accuracy of the smallest and the largest, say).

    Raises:
        InputError: an unknown strategy or optimiser, or augmentation that targets do not follow.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        task: Task,
        config: TrainingConfig,
        seed: int,
        checkpoint_path: Path,
        metrics: AppendLog,
        evaluate: Evaluate,
    ) -> None:
        if config.strategy not in STRATEGIES:
            raise unknown_name("training strategy", config.strategy, STRATEGIES)
        if config.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
        check_augmentation(data, config)
        self.supernet = supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._data, self._task, self._config, self._seed = data, task, config, seed
        self._checkpoint_path, self._metrics, self._evaluate = checkpoint_path, metrics, evaluate
        self._strategy = STRATEGIES[config.strategy](supernet.space, config)
        self._optimizer = OPTIMIZERS[config.optimizer](
            parameter_groups(supernet, config.weight_decay), config
        )
        batch_size = min(config.batch_size, len(data.train))
        self._batch_size = batch_size
        self.steps_per_epoch = len(data.train) // batch_size
        self.next_epoch = 0
        self._note = ""  # figures of the last epoch, in words

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self._config.epochs

    def resume(self) -> None:
        """Take up the checkpoint if there is one, else the weights that the recipe starts from.

        Raises:
            InputError: the file is damaged or of another space or shape.
        """
        if not self._checkpoint_path.exists():
            self._metrics.keep_first(0)
            if self._config.weights is not None:
                weights = Path(self._config.weights)
                start_from(self.supernet, weights, self._config.kernel_transform)
            if self._config.epochs == 0:
                self._save()
            return
        tensors, state = load_checkpoint(self._checkpoint_path, self.supernet.space.name)
        load_weights(self.supernet, tensors, self._checkpoint_path)
        restore_optimizer(self._optimizer, self.supernet, tensors)
        self.next_epoch = int(state["epoch"])
        self._metrics.keep_first(self.next_epoch)

    def train(self, report: Report = lambda done, note: None) -> None:
        """Train from where it stands to the last epoch."""
        for epoch in range(self.next_epoch, self._config.epochs):
            start = time.perf_counter()
            loss = self._train_epoch(epoch, report)
            seconds = time.perf_counter() - start
            record: dict[str, Any] = {
                "epoch": epoch + 1,
                "loss": loss,
                "learning_rate": self._optimizer.param_groups[0]["lr"],
                "samples_per_second": self.steps_per_epoch * self._batch_size / seconds,
                "seconds": seconds,
            }
            last = epoch + 1 == self._config.epochs
            if last or (epoch + 1) % self._config.evaluate_every == 0:
                record |= self._evaluate(self.supernet)
            self._metrics.append(record)
            self.next_epoch = epoch + 1
            self._save()
            self._note = _note(record, self._note, self._task.metric)

    def _train_epoch(self, epoch: int, report: Report) -> float:
        rng = np.random.default_rng([self._seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        order = rng.permutation(len(self._data.train))
        drop_path = self._drop_path(epoch)
        self.supernet.train()
        total = torch.zeros(())
        for step in range(self.steps_per_epoch):
            progress = epoch + step / self.steps_per_epoch
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(self._config, progress)
            index = order[step * self._batch_size : (step + 1) * self._batch_size]
            batch = training_batch(self._data, index, self._config, generator)
            subnets = self._strategy.step(epoch, rng)
            total += self._step(subnets, batch, drop_path(progress))
            report(epoch * self.steps_per_epoch + step + 1, self._note)
        loss = float(total) / self.steps_per_epoch
        if not math.isfinite(loss):
            raise InputError(
                f"the training loss became {loss} in epoch {epoch + 1}; "
                "lower training.learning_rate or training.clip_norm"
            )
        return loss

    def _drop_path(self, epoch: int) -> Callable[[float], Regularisation | None]:
        """Return what is dropped at a progress in epochs: linearly more (arXiv:1707.07012)."""
        seed = np.random.default_rng([self._seed, epoch, 0xD80F]).integers(2**62)
        generator = torch.Generator().manual_seed(int(seed))

        def at(progress: float) -> Regularisation | None:
            share = progress / self._config.epochs
            probability = self._config.drop_path * share
            return Regularisation(generator, probability) if self._config.drop_path else None

        return at

    def _step(
        self, subnets: list[TrainingSubnet], batch: Batch, regularisation: Regularisation | None
    ) -> Tensor:
        """Add up the gradients of all subnets, clip, step; return the loss of the first."""
        inputs, targets = batch
        self._optimizer.zero_grad(set_to_none=True)
        teacher: Outputs | None = None
        first = torch.zeros(())
        for subnet in subnets:
            specs = self.supernet.inputs(subnet.architecture).values()
            sized = resize(inputs, specs)
            if subnet.learns_from == "labels" or teacher is None:
                outputs = self.supernet(sized, subnet.architecture, regularisation)
                loss = self._task.training_loss(outputs, targets)
            else:
                outputs = self.supernet(sized, subnet.architecture)
                loss = self._task.distillation_loss(outputs, teacher)
            (loss * subnet.loss_weight).backward()  # type: ignore[no-untyped-call]
            if teacher is None:
                teacher, first = detached(outputs), loss.detach()
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self._config.clip_norm)
        self._optimizer.step()
        return first

    def _save(self) -> None:
        tensors = {f"weights.{n}": p for n, p in self.supernet.named_parameters()}
        tensors |= optimizer_tensors(self._optimizer, self.supernet)
        state = {
            "space": self.supernet.space.name,
            "epoch": self.next_epoch,
            "epochs": self._config.epochs,
            "seed": self._seed,
            "settings": dict(self.supernet.space.settings),
            "kernel_transform": self._config.kernel_transform,
        }
        save_checkpoint(self._checkpoint_path, tensors, state)


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Linear warm-up, then half a cosine to 0 (arXiv:1608.03983); `progress` in epochs."""
    warm_up = config.warm_up_epochs
    if progress < warm_up:
        return config.learning_rate * (progress + 0.1) / (warm_up + 0.1)
    share = (progress - warm_up) / max(config.epochs - warm_up, 1e-9)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _note(record: dict[str, Any], earlier: str, metric: str) -> str:
    words = f"loss {record['loss']:.3f}  {record['samples_per_second']:.0f} samples/s"
    if "smallest_accuracy" in record:
        smallest, largest = (
            metric_text(metric, record[f"{name}_accuracy"], 1) for name in ("smallest", "largest")
        )
        return f"{words}  smallest {smallest}  largest {largest}"
    _, found, accuracies = earlier.partition("  smallest")
    return words + found + accuracies

"""A small training that tests stop, damage and disturb."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.append_log import AppendLog
from nas.config import TaskConfig, TrainingConfig
from nas.data import Dataset
from nas.task import Task
from nas.training import STRATEGIES
from nas.training.alone import Alone
from nas.training.checkpoint import load_checkpoint, read_state
from nas.training.ranks import Ranks
from nas.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet

CONFIG = TrainingConfig(
    epochs=3, batch_size=32, num_random=1, warm_up_epochs=0.5, evaluate_every=2, flip=True
)
EVERY_STEP = 1e-9  # minutes between checkpoints
TIMINGS = ("seconds", "samples_per_second")
LOSS = "python:tests.nas.training.small_training:loss"
Place = tuple[int, int, int]  # roll-backs so far, epoch, step
Faults = Callable[[Place], float]  # what the loss of labels is multiplied with


def new_supernet(space: SearchSpace, seed: int = 0, only: Architecture | None = None) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Supernet(space, only=only)


class SmallTraining:
    """One training in a folder; every trainer is a new one, as after a restart.

    Args:
        faults: what is wrong with the loss, and where.
        accuracies: (roll-backs so far, epoch that ends) -> the smallest subnet's.
        alone: the one architecture to train, without the supernet around it.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        data: Dataset,
        config: TrainingConfig = CONFIG,
        seed: int = 0,
        faults: Faults | None = None,
        accuracies: Callable[[int, int], float] | None = None,
        alone: Architecture | None = None,
    ) -> None:
        self.space, self.data, self.config, self.seed = space, data, config, seed
        self.faults, self.accuracies = faults, accuracies
        self.path = folder / "checkpoint.safetensors"
        self.metrics = AppendLog(folder / "metrics.jsonl")
        self.places: list[Place] = []  # of all losses of labels, where faults are given
        self.alone = alone
        self.sources: dict[str, str | None] = {}
        self.ranks = Ranks()

    def trainer(self) -> Trainer:
        def place() -> Place:
            return trainer._draws.roll_backs, trainer.next_epoch, trainer.next_step

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            assert self.faults is not None
            self.places.append(place())
            return F.cross_entropy(outputs, targets) * self.faults(place())

        def evaluate(supernet: Supernet) -> dict[str, float]:
            weights = {"weights": sum(float(p.detach().sum()) for p in supernet.parameters())}
            if self.accuracies is None:
                return weights
            roll_backs, epoch, _ = place()
            smallest = self.accuracies(roll_backs, epoch + 1)
            return {**weights, "smallest_accuracy": smallest, "largest_accuracy": 1.0}

        task = Task() if self.faults is None else Task(TaskConfig(loss=LOSS), loss_function=loss)
        if self.alone is None:
            strategy = STRATEGIES[self.config.strategy](self.space, self.config)
        else:
            strategy = Alone(self.alone, taught=False)
        trainer = Trainer(
            new_supernet(self.space, only=self.alone),
            self.data,
            task,
            self.config,
            self.seed,
            strategy,
            checkpoint_path=self.path,
            metrics=self.metrics,
            evaluate=evaluate,
            sources=self.sources,
            ranks=self.ranks,
        )
        return trainer

    def go_on(self, stop_after: int | None = None) -> str | None:
        """Resume and train, say what `resume` did; killed after a step that has no checkpoint yet,
        the one behind the first `stop_after` of this process.
        """
        trainer, steps = self.trainer(), []
        said = trainer.resume()

        def report(done: int, note: str) -> None:
            steps.append(done)
            if stop_after is not None and len(steps) > stop_after:
                raise KeyboardInterrupt

        if stop_after is None:
            trainer.train(report)
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.train(report)
        return said

    def tensors(self) -> dict[str, Tensor]:
        return load_checkpoint(self.path, self.space.name)[0]

    def records(self) -> list[Mapping]:
        """The metrics without what the clock says."""
        return [
            {key: value for key, value in record.items() if key not in TIMINGS}
            for record in self.metrics.read()
        ]


def assert_same(first: SmallTraining, second: SmallTraining) -> None:
    """Both ended with the same weights, the same state and the same metrics, bit for bit."""
    left, right = first.tensors(), second.tensors()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert first.records() == second.records()
    assert read_state(first.path) == read_state(second.path)

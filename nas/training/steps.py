"""Single steps of a training: what a strategy plans, on a batch, unless it would do harm."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.data import Dataset, check_augmentation
from nas.task import Task
from nas.training.batches import Batches, shared_batch
from nas.training.draws import Drawn, Draws
from nas.training.guard import Guard, comparable
from nas.training.memory import memory_for
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
from nas.training.strategy import Judge, StepContext, Strategy
from nas.training.tally import Tally
from nas.training.teachers import Teacher
from search_spaces import Population, unknown_name
from search_spaces.channel_order import sort_channels
from search_spaces.supernet import Supernet

Index = npt.NDArray[np.intp]

ROLL_BACK_RATE = 0.5  # of the learning rate before


class Steps:
    """Takes steps, and holds what they change: weights, the optimiser's state and the guard's.

    Everything random is drawn from the seed and the place (epoch, step) where it is needed, so that
    a step is the same whether the process ran before or has just started.

    The arguments are those of the trainer.

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
        strategy: Strategy,
        *,
        teachers: Sequence[Teacher],
        judge: Judge | None,
        draws: Draws,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        if config.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", config.optimizer, OPTIMIZERS)
        check_augmentation(data, config)
        self.batch_size = shared_batch(min(config.batch_size, len(data.train)), ranks.size)
        check_precision(config.precision, device)
        self.supernet = supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.strategy, self.draws, self.guard = strategy, draws, Guard(device)
        self.batches = Batches(data, config, device)
        self.optimizer = OPTIMIZERS[config.optimizer](
            parameter_groups(supernet, config.weight_decay), config
        )
        self.per_epoch = len(data.train) // self.batch_size
        self._num_samples, self._config, self._ranks = len(data.train), config, ranks
        self._judge = judge
        placed = [teacher.to(device) for teacher in teachers]
        self._passes = Passes(supernet, task, config, placed, draws)

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    @property
    def rate_factor(self) -> float:
        """What roll-backs have left of the recipe's learning rate."""
        factor: float = ROLL_BACK_RATE**self.draws.roll_backs
        return factor

    def order(self, epoch: int) -> Index:
        """Return the order of the samples in an epoch."""
        return self.draws.rng(Drawn.ORDER, epoch).permutation(self._num_samples)

    def take(self, order: Index, epoch: int, step: int, tally: Tally) -> None:
        """Add up the gradients of what the strategy plans, clip them, and take the step unless it
        is bad.

        Raises:
            InputError: there is too little memory.
        """
        with memory_for(
            f"in a training step with training.batch_size={self._config.batch_size}",
            "lower it, or training.num_random, or the largest resolution or width of the space",
        ):
            self._take(order, epoch, step, tally)

    def _take(self, order: Index, epoch: int, step: int, tally: Tally) -> None:
        epochs, rank = self._config.epochs, self._ranks.rank
        progress = epoch + step / self.per_epoch
        rng = self.draws.rng(Drawn.STEP, epoch, step)
        planned = self.strategy.step(
            StepContext(epoch, epochs, progress / epochs, rng, self.judge(epoch, step))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._config, progress) * self.rate_factor
        whole = order[step * self.batch_size : (step + 1) * self.batch_size]
        generator = self.draws.generator(Drawn.STEP, epoch, step, rank)
        batch = self.batches(self._part(whole), generator)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._passes.add_gradients(planned, batch, Place(epoch, step, rank, progress))
        trained = [one for one in self.supernet.parameters() if one.grad is not None]
        self._ranks.mean_([*(one.grad for one in trained if one.grad is not None), *losses])
        norm = nn.utils.clip_grad_norm_(trained, self._config.clip_norm)
        admitted = self.guard.admits(comparable(planned.subnets, losses), norm)
        take_step(self.optimizer, admitted)
        tally.add([subnet.role for subnet in planned.subnets], losses, admitted)

    def judge(self, epoch: int, step: int) -> Judge:
        """Return what tells the expected losses of genomes at a step, the same on all processes."""
        given = self._judge
        if given is None:
            return lambda population: self._fresh_losses(population, epoch, step)
        return lambda population: np.array(
            self._ranks.from_first(lambda: given(population).tolist()), dtype=np.float64
        )

    def _fresh_losses(
        self, population: Population, epoch: int, step: int
    ) -> npt.NDArray[np.float64]:
        """Return the losses of n genomes on a mini-batch that the step does not train on."""
        rng = self.draws.rng(Drawn.FRESH, epoch, step)
        index = rng.permutation(self._num_samples)[: self.batch_size]
        losses = self._passes.losses(population, self.batches(self._part(index), None))
        self._ranks.mean_([losses])
        found: npt.NDArray[np.float64] = losses.cpu().numpy()
        return found

    def _part(self, index: Index) -> Index:
        """Return this process's part of a batch."""
        return np.split(index, self._ranks.size)[self._ranks.rank]

    def sort_channels(self) -> int:
        """Sort channels, and let the optimiser follow; return how many weights were sorted."""
        orders = sort_channels(self.supernet)
        reorder_state(self.optimizer, self.supernet, orders)
        return len(orders)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that steps change, by name."""
        weights = {f"weights.{n}": t for n, t in self.supernet.state_dict().items()}
        state = optimizer_tensors(self.optimizer, self.supernet)
        return {**weights, **state, "guard": self.guard.state}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back the state of the optimiser and of the guard as `tensors` returned it."""
        self.optimizer.state.clear()
        restore_optimizer(self.optimizer, self.supernet, tensors)
        self.guard.state = tensors["guard"].to(self.guard.state.device)

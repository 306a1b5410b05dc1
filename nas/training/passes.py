"""Forward and backward passes of one step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.config import TrainingConfig
from nas.data import Inputs
from nas.task import Outputs, Task, detached
from nas.training.batches import Batch
from nas.training.draws import Drawn, Draws
from nas.training.precision import autocast, in_fp32
from nas.training.regularisation import dropout_share
from nas.training.strategy import TrainingStep, TrainingSubnet
from nas.training.teachers import Teacher
from search_spaces import Architecture, Population
from search_spaces.regularisation import Regularisation
from search_spaces.supernet import Supernet, resize


@dataclass(frozen=True)
class Place:
    """Which step of a training, and which process of those that take it together."""

    epoch: int
    step: int
    rank: int
    progress: float  # in epochs


class Passes:
    """Runs what a strategy plans, through the supernet and back.

    Args:
        teachers: external ones, of which every step draws one (stochastic distillation).
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        config: TrainingConfig,
        teachers: Sequence[Teacher],
        draws: Draws,
    ) -> None:
        self._supernet, self._task, self._config = supernet, task, config
        self._teachers, self._draws = teachers, draws

    def add_gradients(self, planned: TrainingStep, batch: Batch, place: Place) -> list[Tensor]:
        """Add up the gradients of all subnets of a step; return the loss of each.

        Of a loss of several terms, that of the labels is returned.

        Raises:
            InputError: a function of the user's fails.
        """
        inputs, targets = batch
        losses = []
        teacher = self._untrained_teacher(planned, inputs, place)
        for position, subnet in enumerate(planned.subnets):
            regularisation = self._regularisation(subnet, place, position)
            outputs = self._run(inputs, subnet.architecture, regularisation)
            terms = self._terms(subnet, outputs, targets, teacher)
            loss = torch.stack(terms).sum() * subnet.loss_weight
            loss.backward()  # type: ignore[no-untyped-call]
            if teacher is None:
                teacher = detached(outputs)
            losses.append(terms[0].detach())
        return losses

    def losses(self, population: Population, batch: Batch) -> Tensor:
        """Return the losses of n genomes, n, without gradients."""
        inputs, targets = batch
        space = self._supernet.space
        with torch.no_grad():
            each = [
                self._task.training_loss(self._run(inputs, space.decode(genome)), targets)
                for genome in population
            ]
        return torch.stack(each).double()

    def _run(
        self,
        inputs: Inputs,
        architecture: Architecture,
        regularisation: Regularisation | None = None,
    ) -> Outputs:
        sized = resize(inputs, self._supernet.inputs(architecture).values())
        with autocast(self._config.precision, inputs[0].device):
            outputs: Outputs = self._supernet(sized, architecture, regularisation)
        return in_fp32(outputs)

    def _terms(
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

    def _untrained_teacher(
        self, planned: TrainingStep, inputs: Inputs, place: Place
    ) -> Outputs | None:
        """Return the outputs of a teacher that the step does not train."""
        if self._teachers:
            rng = self._draws.rng(Drawn.TEACHER, place.epoch, place.step)
            teacher = self._teachers[int(rng.integers(len(self._teachers)))]
            outputs: Outputs = teacher(inputs)
            return outputs
        if planned.teacher is None or planned.teacher == planned.subnets[0].architecture:
            return None
        with torch.no_grad():
            return self._run(inputs, planned.teacher)

    def _regularisation(
        self, subnet: TrainingSubnet, place: Place, position: int
    ) -> Regularisation | None:
        """Return what to drop: paths linearly more over the training (arXiv:1707.07012)."""
        config, share = self._config, subnet.regularisation
        if config.adaptive_dropout:
            space = self._supernet.space
            share = float(dropout_share(space, space.encode(subnet.architecture))[0])
        drop_path = config.drop_path * subnet.regularisation * place.progress / config.epochs
        dropout = config.dropout * share
        if not (drop_path or dropout):
            return None
        drawn = self._draws.generator(Drawn.DROPPED, place.epoch, place.step, place.rank, position)
        return Regularisation(drawn, drop_path, dropout)

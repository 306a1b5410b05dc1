"""What a training strategy is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from search_spaces import Architecture, Population

Role = Literal["largest", "random", "smallest", "alone"]
Judge = Callable[[Population], npt.NDArray[np.float64]]  # n x d -> n, lower is better


@dataclass(frozen=True)
class TrainingSubnet:
    """One forward and backward pass of a step.

    `learns_from` is "labels", "teacher" (the detached outputs of the step's teacher) or "both".
    `loss_weight` scales its gradient: where the optimiser is plain descent, a learning-rate factor
    of its own. `regularisation` is its share of the recipe's dropout and drop path.
    """

    architecture: Architecture
    role: Role
    learns_from: Literal["labels", "teacher", "both"]
    loss_weight: float = 1.0
    regularisation: float = 0.0


@dataclass(frozen=True)
class TrainingStep:
    """What one step trains, in order; gradients are added up and applied once.

    The teacher may be the first of the subnets, whose outputs then serve twice, or an architecture
    that is run for them alone. None where nothing learns from a teacher.
    """

    subnets: tuple[TrainingSubnet, ...]
    teacher: Architecture | None = None


@dataclass(frozen=True)
class StepContext:
    """What a strategy may look at.

    Args:
        epoch, epochs: which epoch (from 0) of how many.
        progress: share of the training that is done, from 0 to below 1.
        rng: draws are made from it alone, so that a resumed training repeats them.
        expected_loss: of genomes, without training them.
    """

    epoch: int
    epochs: int
    progress: float
    rng: np.random.Generator
    expected_loss: Judge


class Strategy(Protocol):
    """Says which subnets a step trains. Without state, so that training resumes anywhere."""

    def step(self, context: StepContext) -> TrainingStep:
        """Return what this step trains."""

    def sorts_channels(self, epoch: int, epochs: int) -> bool:
        """Tell whether channels are sorted by importance before an epoch."""
        return False

    def trains_all(self, progress: float) -> bool:
        """Tell whether every architecture, the smallest too, has its turn from there on."""
        return True

"""What a training strategy is."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from search_spaces import Architecture


@dataclass(frozen=True)
class TrainingSubnet:
    """One forward and backward pass of a step.

    `learns_from` is "labels", or "teacher": the detached logits of the step's first subnet.
    """

    architecture: Architecture
    learns_from: Literal["labels", "teacher"]
    loss_weight: float = 1.0


class Strategy(Protocol):
    """Says which subnets a step trains, in order; their gradients are added up."""

    def step(self, epoch: int, rng: np.random.Generator) -> list[TrainingSubnet]:
        """Return the subnets of one step of `epoch` (from 0), drawn from `rng` alone."""

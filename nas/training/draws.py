"""Where randomness comes from: the seed, what is drawn, and the place where it is needed."""

from enum import IntEnum

import numpy as np
import torch


class Drawn(IntEnum):
    """What is drawn."""

    ORDER = 0  # of samples in an epoch
    STEP = 1  # architectures and augmentation
    FRESH = 2  # samples that candidates are judged on
    DROPPED = 3
    TEACHER = 4


class Draws:
    """Makes generators that are the same whether the process ran before or has just started."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.roll_backs = 0  # after each of them everything is drawn anew

    def rng(self, what: Drawn, *place: int) -> np.random.Generator:
        """Return numpy's generator for one place: an epoch, a step, a process."""
        return np.random.default_rng([self._seed, self.roll_backs, what, *place])

    def generator(self, what: Drawn, *place: int) -> torch.Generator:
        """Return PyTorch's generator for one place, on the CPU."""
        return torch.Generator().manual_seed(int(self.rng(what, *place).integers(2**62)))

"""The sandwich rule with in-place distillation."""

import numpy as np

from nas.config import TrainingConfig
from nas.training.strategy import TrainingSubnet
from search_spaces import SearchSpace


class Sandwich:
    """Each step trains the largest on labels, then random ones and the smallest on its logits.

    Yu and Huang, Universally Slimmable Networks (arXiv:1903.05134); Yu et al., BigNAS
    (arXiv:2003.11142).
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random = config.num_random
        self._largest = TrainingSubnet(space.decode(space.largest()[0]), "labels")
        self._smallest = TrainingSubnet(space.decode(space.smallest()[0]), "teacher")

    def step(self, epoch: int, rng: np.random.Generator) -> list[TrainingSubnet]:
        """Return largest, `num_random` random ones, smallest."""
        random = [
            TrainingSubnet(self._space.decode(genome), "teacher")
            for genome in self._space.sample(self._num_random, rng)
        ]
        return [self._largest, *random, self._smallest]

"""The sandwich rule with in-place distillation."""

from nas.config import TrainingConfig, chosen
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import SearchSpace


class Sandwich(Strategy):
    """Each step trains the largest on labels, then random ones and the smallest on its outputs.

    The largest alone is regularised. Yu and Huang, Universally Slimmable Networks
    (arXiv:1903.05134); Yu et al., BigNAS (arXiv:2003.11142).
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random = chosen(config.num_random)
        largest, smallest = (space.decode(row[0]) for row in (space.largest(), space.smallest()))
        self._largest = TrainingSubnet(largest, "largest", "labels", regularisation=1.0)
        self._smallest = TrainingSubnet(smallest, "smallest", "teacher")

    def step(self, context: StepContext) -> TrainingStep:
        """Return largest, `num_random` random ones, smallest."""
        random = [
            TrainingSubnet(self._space.decode(genome), "random", "teacher")
            for genome in self._space.sample(self._num_random, context.rng)
        ]
        subnets = (self._largest, *random, self._smallest)
        return TrainingStep(subnets, teacher=self._largest.architecture)

"""The sandwich rule with in-place distillation."""

from nas.config import TrainingConfig, chosen
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import Population, SearchSpace


class Sandwich(Strategy):
    """Each step trains the largest on labels, then random ones and the smallest on its outputs.

    The largest alone is regularised. Yu and Huang, Universally Slimmable Networks
    (arXiv:1903.05134); Yu et al., BigNAS (arXiv:2003.11142).
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random = chosen(config.num_random)

    def step(self, context: StepContext) -> TrainingStep:
        """Return largest, `num_random` random ones, smallest."""
        return sandwich_step(self._space, self._space.sample(self._num_random, context.rng))


def sandwich_step(
    space: SearchSpace, between: Population, loss_weight: float = 1.0
) -> TrainingStep:
    """Return a step of the largest on labels, then n genomes and the smallest on its outputs, all
    but the largest with a loss weight.
    """
    largest, (lowest,) = largest_subnet(space), space.smallest()
    random = (
        TrainingSubnet(space.decode(genome), "random", "teacher", loss_weight) for genome in between
    )
    smallest = TrainingSubnet(space.decode(lowest), "smallest", "teacher", loss_weight)
    return TrainingStep((largest, *random, smallest), teacher=largest.architecture)


def largest_subnet(space: SearchSpace) -> TrainingSubnet:
    """Return the largest, which learns from labels and is regularised."""
    largest = space.decode(space.largest()[0])
    return TrainingSubnet(largest, "largest", "labels", regularisation=1.0)

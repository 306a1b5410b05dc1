"""Delayed epsilon-shrinking."""

from nas.config import TrainingConfig, chosen
from nas.training.sandwich import largest_subnet, sandwich_step
from nas.training.strategy import StepContext, Strategy, TrainingStep
from search_spaces import SearchSpace

EPSILON = 1e-3  # the loss weight with which the others join in


class Delayed(Strategy):
    """The largest alone until it is partly trained, then a sandwich whose other subnets join in
    with a loss weight that grows linearly from epsilon to 1.

    Annavajjala et al., DepS: Delayed Epsilon-Shrinking for Faster Once-For-All Training
    (arXiv:2407.06167), which scales the learning rate of the others: where the optimiser is plain
    descent, a loss weight is the same.
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random = chosen(config.num_random)
        self._start, self._ramp = chosen(config.full_share), chosen(config.ramp_share)

    def step(self, context: StepContext) -> TrainingStep:
        """Return the largest, later followed by `num_random` random ones and the smallest."""
        waited = context.progress - self._start
        if waited < 0:
            return TrainingStep((largest_subnet(self._space),))
        share = min(waited / self._ramp, 1.0) if self._ramp else 1.0
        between = self._space.sample(self._num_random, context.rng)
        return sandwich_step(self._space, between, EPSILON + (1 - EPSILON) * share)

    def trains_all(self, progress: float) -> bool:
        """Tell whether the others have joined in, with all their weight."""
        return progress >= self._start + self._ramp

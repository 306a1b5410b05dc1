"""Uniform single path."""

from nas.config import TrainingConfig
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import SearchSpace


class SinglePath(Strategy):
    """Each step trains one random architecture on labels (Guo et al., arXiv:1904.00420)."""

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space

    def step(self, context: StepContext) -> TrainingStep:
        """Return one architecture, drawn uniformly."""
        drawn = self._space.decode(self._space.sample(1, context.rng)[0])
        return TrainingStep((TrainingSubnet(drawn, "random", "labels", regularisation=1.0),))

"""One architecture alone."""

from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import Architecture


class Alone(Strategy):
    """Each step trains the one architecture.

    Args:
        taught: it learns from the trainer's teacher and from labels; else from labels alone.
    """

    def __init__(self, architecture: Architecture, taught: bool) -> None:
        subnet = TrainingSubnet(
            architecture, "alone", "both" if taught else "labels", regularisation=1.0
        )
        self._step = TrainingStep((subnet,))

    def step(self, context: StepContext) -> TrainingStep:
        """Return the one architecture."""
        return self._step

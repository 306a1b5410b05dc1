"""Attentive sampling of subnets."""

import numpy as np

from nas.config import TrainingConfig, chosen
from nas.training.sandwich import sandwich_step
from nas.training.strategy import StepContext, Strategy, TrainingStep
from search_spaces import Population, SearchSpace

POOL = 64  # drawn for every candidate; those nearest to the sampled cost are taken


class Attentive(Strategy):
    """A sandwich whose random subnets are the best, or the worst, of a few of like cost.

    Wang et al., AttentiveNAS (arXiv:2011.09118). The MACs of an architecture drawn from the space
    are a draw from the space's distribution of MACs: the cost that the candidates are near to.
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random, self._candidates = chosen(config.num_random), chosen(config.candidates)
        self._choose = {"best": np.argmin, "worst": np.argmax}[chosen(config.attend)]

    def step(self, context: StepContext) -> TrainingStep:
        """Return largest, `num_random` chosen ones, smallest."""
        groups = self._candidates_near(context.rng)
        if len(groups) and groups.shape[1] > 1:
            losses = context.expected_loss(groups.reshape(-1, groups.shape[-1]))
            taken = self._choose(losses.reshape(groups.shape[:2]), axis=1)
            groups = np.take_along_axis(groups, taken[:, None, None], axis=1)
        return sandwich_step(self._space, groups[:, 0])

    def _candidates_near(self, rng: np.random.Generator) -> Population:
        """Draw `num_random` costs, and for each the different architectures nearest to it:
        `num_random x candidates x d`, fewer of both where the space holds no more.
        """
        pool = self._space.sample(self._num_random + POOL * self._candidates, rng)
        pool = self._space.unique(pool)
        macs = self._space.layers.costs(pool).macs
        distances = np.abs(macs[: self._num_random, None] - macs)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : self._candidates]
        return pool[nearest]

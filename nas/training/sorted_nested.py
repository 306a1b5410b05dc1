"""Sorted training of nested subnets."""

import numpy as np

from nas.config import TrainingConfig, chosen
from nas.training.sandwich import largest_subnet
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import Population, SearchSpace


class SortedNested(Strategy):
    """Each step trains a few of a chain of subnets, every one nested in the next, on labels.

    Valipour et al., SortedNet (arXiv:2309.00255): gradients of the sampled ones are accumulated.
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        below = nested_chain(space, chosen(config.levels))[:-1]
        self._chain = [
            *(
                TrainingSubnet(space.decode(genome), "random" if level else "smallest", "labels")
                for level, genome in enumerate(below)
            ),
            largest_subnet(space),
        ]
        self._num_random = min(chosen(config.num_random), len(self._chain))

    def step(self, context: StepContext) -> TrainingStep:
        """Return `num_random` different ones, the largest of them first."""
        drawn = context.rng.choice(len(self._chain), self._num_random, replace=False)
        return TrainingStep(tuple(self._chain[level] for level in sorted(drawn, reverse=True)))


def nested_chain(space: SearchSpace, levels: int) -> Population:
    """Return the architectures whose dimensions all are at the same share of their options, from
    the smallest to the largest: `levels x d`, fewer where neighbours are the same network.
    """
    shares = np.linspace(0, 1, levels)[:, None]
    genomes = np.rint(shares * (space.num_options - 1)).astype(np.int16)
    return space.unique(space.canonicalize(genomes))

"""Progressive shrinking."""

import numpy as np
import numpy.typing as npt

from nas.config import TrainingConfig, chosen
from nas.training.sandwich import largest_subnet
from nas.training.strategy import StepContext, Strategy, TrainingStep, TrainingSubnet
from search_spaces import Dimension, Population, SearchSpace

PHASES = ("kernel", "depth", "expansion")
ALIKE = {"layers": "depth"}
AT_ONCE = "resolution"  # elastic as soon as anything is
OPEN_AT_FIRST = 2  # options of every dimension, in the first half of its phase


class Progressive(Strategy):
    """The largest alone, then smaller kernels, depths and expansions join one after another, each
    from the largest option downwards; all learn from labels and from the largest.

    Cai et al., Once for All (arXiv:1908.09791). What is neither kernel, depth nor resolution counts
    as an expansion. The phases share the time after `full_share` evenly, but for those that the
    space has no dimensions for. The paper restarts a lower learning rate with every phase; here one
    schedule falls over all of them.
    """

    def __init__(self, space: SearchSpace, config: TrainingConfig) -> None:
        self._space = space
        self._num_random = chosen(config.num_random)
        self._full_share = chosen(config.full_share)
        self._sorts = chosen(config.sort_channels)
        self._largest = largest_subnet(space)
        self._phase_of = np.array([_phase_of(one) for one in space.dimensions])  # d
        elastic = set(self._phase_of[space.num_options > 1].tolist())
        self._phases = [name for name in PHASES if name in elastic]

    def step(self, context: StepContext) -> TrainingStep:
        """Return the largest; later `num_random` others with the largest as their teacher."""
        if context.progress < self._full_share:
            return TrainingStep((self._largest,))
        lowest = self._lowest_options(context.progress)
        shape = (self._num_random, self._space.num_dimensions)
        drawn = context.rng.integers(lowest, self._space.num_options, shape, dtype=np.int16)
        subnets = tuple(self._subnet(genome) for genome in drawn)
        return TrainingStep(subnets, teacher=self._largest.architecture)

    def sorts_channels(self, epoch: int, epochs: int) -> bool:
        """Tell whether expansions become elastic within an epoch: once, before any of them is."""
        if not self._sorts or "expansion" not in self._phases:
            return False
        start = self._start(self._phases.index("expansion"))
        return epoch / epochs <= start < (epoch + 1) / epochs

    def trains_all(self, progress: float) -> bool:
        """Tell whether every option is open."""
        return not self._lowest_options(progress).any()

    def _start(self, phase: int) -> float:
        """Return the progress at which a phase begins; that of the last but one is the end."""
        return self._full_share + (1 - self._full_share) * phase / len(self._phases)

    def _lowest_options(self, progress: float) -> npt.NDArray[np.int16]:
        """Return the least option of every dimension that is open, d."""
        lowest = self._space.num_options - 1
        lowest[self._phase_of == AT_ONCE] = 0
        for phase, name in enumerate(self._phases):
            start, end = self._start(phase), self._start(phase + 1)
            members = self._phase_of == name
            if progress >= (start + end) / 2:
                lowest[members] = 0
            elif progress >= start:
                lowest[members] = np.maximum(self._space.num_options[members] - OPEN_AT_FIRST, 0)
        return lowest

    def _subnet(self, genome: Population) -> TrainingSubnet:
        """Return what a genome trains; the largest has no teacher but labels."""
        architecture = self._space.decode(genome)
        if architecture == self._largest.architecture:
            return self._largest
        return TrainingSubnet(architecture, "random", "both")


def _phase_of(dimension: Dimension) -> str:
    word = dimension.name.rpartition(".")[2]
    return word if word in (*PHASES, AT_ONCE) else ALIKE.get(word, "expansion")

"""Accuracy of subnets by a Gaussian process on several encodings at once."""

import numpy as np

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy
from predictors.encodings import Encoding, Matrix
from predictors.gaussian import Group, condition, expected_kernel, fit_kernel
from predictors.predictor import Vector
from search_spaces import SearchSpace


class GaussianProcessAccuracy(LearnedAccuracy):
    """Matern 5/2 on every encoding alone and on all together (Rasmussen and Williams, 2006).

    Costs and scores order subnets well from few samples, paths, counts and options correct them as
    samples grow; the marginal likelihood tells how much each of them matters. Held-out guesses
    leave out one subnet at a time, in closed form.

    Args:
        space: what populations are of.
        seed: has no effect.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _Process, seed, features)


class _Process:
    """The process on encoded architectures."""

    def __init__(self, blocks: Blocks, targets: Vector, seed: int) -> None:
        self._sizes = {name: _typical_size(block) for name, block in blocks.items()}
        rows = self._rows(blocks)
        kernel = fit_kernel(expected_kernel(_groups(blocks), rows), rows, targets)
        self._process = condition(kernel, rows, targets)
        self._noise = kernel.noise

    @property
    def held_out(self) -> Guess:
        return self._process.leave_one_out()

    def predict(self, blocks: Blocks) -> Guess:
        mean, std = self._process.predict(self._rows(blocks))
        return mean, np.sqrt(std**2 + self._noise)

    def _rows(self, blocks: Blocks) -> Matrix:
        return np.hstack([block / self._sizes[name] for name, block in blocks.items()])


def _typical_size(block: Matrix) -> float:
    """Return the root mean square distance of two rows, so that no encoding outweighs another."""
    return float(np.sqrt(2 * block.var(axis=0).sum())) or 1.0


def _groups(blocks: Blocks) -> tuple[Group, ...]:
    ends = np.cumsum([0, *(block.shape[1] for block in blocks.values())]).tolist()
    each = [Group(start, stop, "matern") for start, stop in zip(ends, ends[1:], strict=False)]
    return (*each, Group(0, ends[-1], "matern"))

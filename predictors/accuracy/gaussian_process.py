"""Accuracy of subnets by Gaussian processes on several encodings at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding, Matrix
from predictors.gaussian import (
    GaussianProcess,
    Group,
    condition,
    expected_kernel,
    fit_kernel,
    standardised,
)
from predictors.predictor import Vector
from search_spaces import SearchSpace

PARTS, ROUNDS = 2, 2  # of dealing out the features
LEAST_DEALT = 6  # features; fewer stay together
MOST_COMPARED = 300  # subnets from which the kernel is told; all of them are then learned from


class GaussianProcessAccuracy(LearnedAccuracy):
    """Matern 5/2 on every encoding alone and on all together (Rasmussen and Williams, 2006).

    Costs and scores order subnets well from few samples, paths, counts and options correct them as
    samples grow; the marginal likelihood tells how much each of them matters. Many scores, of which
    some tell nothing, are dealt out to several processes, whose mean is the guess (random
    subspaces: Ho, IEEE TPAMI 1998). Held-out guesses leave out one subnet at a time, in closed
    form.

    Args:
        space: what populations are of.
        seed: of dealing out the features.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _fit, seed, features)


@dataclass(frozen=True)
class _Processes:
    """Each looks at some of the features and at all other columns."""

    dealt: Sequence[npt.NDArray[np.intp]]
    members: Sequence["_Member"]

    @property
    def held_out(self) -> Guess:
        return _mean([member.held_out for member in self.members])

    def predict(self, blocks: Blocks) -> Guess:
        parts = [_with_features(blocks, columns) for columns in self.dealt]
        return _mean([m.predict(part) for m, part in zip(self.members, parts, strict=True)])


@dataclass(frozen=True)
class _Member:
    process: GaussianProcess
    sizes: Vector  # f: what its columns are divided by

    @property
    def held_out(self) -> Guess:
        return self.process.leave_one_out()

    def predict(self, blocks: Blocks) -> Guess:
        mean, std = self.process.predict(beside(blocks) / self.sizes)
        return mean, np.sqrt(std**2 + self.process.kernel.noise)


def _fit(blocks: Blocks, targets: Vector, seed: int) -> _Processes:
    dealt = _deal(blocks["features"].shape[1] if "features" in blocks else 0, seed)
    rng = np.random.default_rng(seed)
    compared = rng.permutation(len(targets))[:MOST_COMPARED]
    members = [_fit_one(_with_features(blocks, columns), targets, compared) for columns in dealt]
    return _Processes(dealt, members)


def _fit_one(blocks: Blocks, targets: Vector, compared: npt.NDArray[np.intp]) -> _Member:
    widths = [block.shape[1] for block in blocks.values()]
    # the root mean square distance of two rows is 1, so that no encoding outweighs another
    sizes = [float(np.sqrt(2 * block.var(axis=0).sum())) or 1.0 for block in blocks.values()]
    divisors = np.repeat(sizes, widths)
    ends = np.cumsum([0, *widths]).tolist()
    each = [Group(start, stop, "matern") for start, stop in pairwise(ends)]
    rows = beside(blocks) / divisors
    expected = expected_kernel((*each, Group(0, ends[-1], "matern")), rows)
    kernel = fit_kernel(expected, rows[compared], standardised(targets[compared]))
    return _Member(condition(kernel, rows, targets), divisors)


def _deal(count: int, seed: int) -> list[npt.NDArray[np.intp]]:
    """Return which of the features every process looks at; each is looked at equally often."""
    if count < LEAST_DEALT:
        return [np.arange(count)]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(count) for _ in range(ROUNDS)]
    return [np.sort(order[part::PARTS]) for order in orders for part in range(PARTS)]


def _with_features(blocks: Blocks, columns: npt.NDArray[np.intp]) -> dict[str, Matrix]:
    return {name: b[:, columns] if name == "features" else b for name, b in blocks.items()}


def _mean(guesses: Sequence[Guess]) -> Guess:
    means, deviations = (np.stack(part) for part in zip(*guesses, strict=True))
    return means.mean(axis=0), np.sqrt((deviations**2).mean(axis=0))

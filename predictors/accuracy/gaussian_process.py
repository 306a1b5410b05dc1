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
EMPHASIS = 3.0  # of one encoding among all
MOST_COMPARED = 300  # subnets from which the kernel is told; all of them are then learned from


class GaussianProcessAccuracy(LearnedAccuracy):
    """Matern 5/2 on every encoding alone, on all together, and on all together with each in turn
    counting three times as much (Rasmussen and Williams, 2006).

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
    """A process on columns that are repeated and scaled, once for every view of them.

    `scales`: `views x f`.
    """

    process: GaussianProcess
    scales: Matrix

    @property
    def held_out(self) -> Guess:
        return self.process.leave_one_out()

    def predict(self, blocks: Blocks) -> Guess:
        mean, std = self.process.predict(_views(blocks, self.scales))
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
    emphases = np.concatenate([np.ones((1, len(widths))), 1 + (EMPHASIS - 1) * np.eye(len(widths))])
    scales = np.repeat(emphases / sizes, widths, axis=1)
    rows = _views(blocks, scales)
    ends = np.cumsum([0, *widths]).tolist()
    views = range(0, rows.shape[1] + 1, ends[-1])
    groups = [Group(start, stop, "matern") for start, stop in (*pairwise(ends), *pairwise(views))]
    expected = expected_kernel(tuple(groups), rows)
    kernel = fit_kernel(expected, rows[compared], standardised(targets[compared]))
    return _Member(condition(kernel, rows, targets), scales)


def _views(blocks: Blocks, scales: Matrix) -> Matrix:
    """Return the columns once for every row of `scales`, `n x (views * f)`."""
    columns = beside(blocks)
    return np.asarray((columns[:, None] * scales).reshape(len(columns), scales.size))


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

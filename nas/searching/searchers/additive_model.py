"""Costs as sums over the options of an architecture, and the best architecture of such a model."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from sklearn.linear_model import RidgeCV

from nas.searching.searchers.proposed import ENUMERABLE
from predictors.predictor import Vector
from search_spaces import Population, SearchSpace

REGULARISATION = np.logspace(-3, 3, 13)
TOLERANCE = 1e-6  # of a limit, in units of its largest weight; the solver's own
MOST_NODES = 5000  # of branch and bound, for one solution; the gap says what that leaves open


@dataclass(frozen=True)
class AdditiveModel:
    """m quantities, each the sum of a weight for every active option.

    Args:
        weights: f x m, of the columns of `SearchSpace.features`.
        intercepts: m.
    """

    weights: npt.NDArray[np.float64]
    intercepts: Vector

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the quantities of n architectures, `n x m`, from their `n x f` features."""
        return np.asarray(features @ self.weights + self.intercepts, dtype=np.float64)


def fit_additive(
    features: npt.NDArray[np.float32], targets: npt.NDArray[np.float64]
) -> AdditiveModel:
    """Fit `n x m` targets by ridge regression, each penalised by its leave-one-out error."""
    ridge = RidgeCV(REGULARISATION, alpha_per_target=True)
    ridge.fit(features.astype(np.float64), targets)
    return AdditiveModel(np.atleast_2d(ridge.coef_).T, np.atleast_1d(ridge.intercept_))


@dataclass(frozen=True)
class Limit:
    """Keeps the sum of `weights` (f) over the active options at most at `most`."""

    weights: Vector
    most: float


@dataclass(frozen=True)
class Solution:
    """The architecture with the least sum of weights, as far as the solver got."""

    genome: Population  # 1 x d, canonical
    gap: float  # relative, between the sum and the solver's bound; 0 is proven optimal


class AdditiveSolver(Protocol):
    """Finds the best architecture of a space for an additive model."""

    def solve(
        self, weights: Vector, limits: Sequence[Limit], excluded: Population
    ) -> Solution | None:
        """Return the architecture of the least sum of `weights` (f); None where there is none.

        Args:
            limits: to keep.
            excluded: canonical architectures that are no answer, k x d.
        """


def additive_solver(space: SearchSpace) -> AdditiveSolver:
    """Return what is faster: going through all architectures, or integer programming."""
    return Enumeration(space) if space.num_architectures <= ENUMERABLE else IntegerProgram(space)


class Enumeration:
    """All architectures of a small space, summed one by one."""

    def __init__(self, space: SearchSpace) -> None:
        self._architectures = space.all_architectures()
        self._features = space.features(self._architectures)
        self._radix = np.cumprod([1, *space.num_options[:-1].tolist()])  # no code is shared
        codes = self._codes(self._architectures)
        self._order = np.argsort(codes)
        self._sorted = codes[self._order]

    def solve(
        self, weights: Vector, limits: Sequence[Limit], excluded: Population
    ) -> Solution | None:
        """Return the architecture of the least sum; None where there is none."""
        sums = self._features @ weights
        for limit in limits:
            slack = TOLERANCE * np.abs(limit.weights).max()
            sums[self._features @ limit.weights > limit.most + slack] = np.inf
        sums[self._order[np.searchsorted(self._sorted, self._codes(excluded))]] = np.inf
        best = int(np.argmin(sums))
        if np.isinf(sums[best]):
            return None
        return Solution(self._architectures[best : best + 1], 0.0)

    def _codes(self, population: Population) -> npt.NDArray[np.int64]:
        return np.asarray(population.astype(np.int64) @ self._radix)


class IntegerProgram:
    """The architectures of a space as a mixed-integer linear program, solved by HiGHS.

    One binary variable an option. Those of a dimension sum to one; of a conditional dimension, to
    the sum of its parent's activating options, so that an inactive dimension has none.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        sizes = space.num_options.astype(np.intp)
        self._first = np.cumsum(sizes) - sizes  # column of every dimension's first option
        self._num_columns = int(sizes.sum())
        position = {dimension.name: i for i, dimension in enumerate(space.dimensions)}
        matrix = np.zeros((len(sizes), self._num_columns))
        for i, dimension in enumerate(space.dimensions):
            matrix[i, self._first[i] : self._first[i] + sizes[i]] = 1
            if dimension.active_when is not None:
                parent, activating = dimension.active_when
                matrix[i, self._first[position[parent]] + np.array(sorted(activating))] = -1
        is_root = np.array([dimension.active_when is None for dimension in space.dimensions])
        self._structure = LinearConstraint(csr_array(matrix), is_root, is_root)

    def solve(
        self, weights: Vector, limits: Sequence[Limit], excluded: Population
    ) -> Solution | None:
        """Return the architecture of the least sum; None where there is none, or none was found."""
        constraints = [self._structure]
        if limits:
            rows = np.stack([limit.weights for limit in limits])
            scale = np.maximum(np.abs(rows).max(axis=1), np.finfo(np.float64).tiny)
            most = np.array([limit.most for limit in limits]) / scale + TOLERANCE
            constraints.append(LinearConstraint(rows / scale[:, None], -np.inf, most))
        if len(excluded):
            # an architecture with all the options of another one is that one
            chosen = self._space.features(excluded)
            constraints.append(LinearConstraint(csr_array(chosen), -np.inf, chosen.sum(axis=1) - 1))
        scale_of_weights = max(float(np.abs(weights).max(initial=0.0)), np.finfo(np.float64).tiny)
        with _silent():
            answer = milp(
                weights / scale_of_weights,
                integrality=np.ones(self._num_columns),
                bounds=Bounds(0, 1),
                constraints=constraints,
                options={"node_limit": MOST_NODES, "mip_rel_gap": 0.0},
            )
        if answer.x is None:
            return None
        return Solution(self._genome(answer.x), float(answer.mip_gap or 0.0))

    def _genome(self, values: Vector) -> Population:
        """Read the options whose variables are 1; an inactive dimension is at option 0."""
        chosen = np.flatnonzero(values > 0.5)
        dimensions = np.searchsorted(self._first, chosen, side="right") - 1
        genome = self._space.smallest()
        genome[0, dimensions] = chosen - self._first[dimensions]
        return self._space.canonicalize(genome)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep off the standard output what the solver's own code prints there now and then: it would
    stand in the middle of a result as JSON.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(nowhere)
        os.close(kept)

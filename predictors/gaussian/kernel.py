"""Covariance of architectures as a weighted sum over groups of columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from predictors.encodings.encoding import Matrix
from predictors.predictor import Vector

Shape = Literal["linear", "tanimoto", "gaussian", "exponential", "matern"]
WITH_LENGTH = ("gaussian", "exponential", "matern")
CONSTANT = 1.0  # prior variance of the mean of standardised targets
SMALLEST = 1e-12


@dataclass(frozen=True)
class Group:
    """Columns that are compared together, and how likeness falls with their distance.

    `linear` is an inner product (a ridge regression), `tanimoto` the share of what two rows of
    counts have in common (Jaccard's, where the counts are 0 and 1); the others fall with the
    Euclidean distance over a length. On one-hot columns `gaussian` is the exponential of the
    Hamming distance: a product over dimensions. Matern's smoothness is 5/2 (Rasmussen and Williams,
    Gaussian Processes for Machine Learning, 2006, chapter 4).

    Args:
        start, stop: the columns, from `start` up to and without `stop`.
    """

    start: int
    stop: int
    shape: Shape

    def statistic(self, first: Matrix, second: Matrix) -> Matrix:
        """Return what likeness is a function of, `n x m`: products, or squared distances."""
        first, second = first[:, self.start : self.stop], second[:, self.start : self.stop]
        products = first @ second.T
        if self.shape == "linear":
            return np.asarray(products)
        squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
        if self.shape == "tanimoto":
            return np.asarray((products + SMALLEST) / (squares - products + SMALLEST))
        return np.asarray(np.maximum(squares - 2 * products, 0.0))

    def diagonal(self, rows: Matrix) -> Vector:
        """Return the likeness of every row to itself, n."""
        if self.shape == "linear":
            return np.asarray((rows[:, self.start : self.stop] ** 2).sum(axis=1))
        return np.ones(len(rows))

    def likeness(self, statistic: Matrix, length: float) -> Matrix:
        """Return the covariance of weight 1, `n x m`."""
        if self.shape not in WITH_LENGTH:
            return statistic
        if self.shape == "gaussian":
            return np.asarray(np.exp(statistic / (-2 * length**2)))
        distance = np.sqrt(statistic) / length
        if self.shape == "exponential":
            return np.asarray(np.exp(-distance))
        distance *= np.sqrt(5)
        return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))

    def slope(self, statistic: Matrix, length: float) -> Matrix:
        """Return the derivative of `likeness` by the logarithm of the length, `n x m`."""
        if self.shape == "gaussian":
            scaled = statistic / length**2
            return np.asarray(scaled * np.exp(scaled / -2))
        distance = np.sqrt(statistic) / length
        if self.shape == "exponential":
            return np.asarray(distance * np.exp(-distance))
        distance *= np.sqrt(5)
        return np.asarray(distance**2 * (1 + distance) / 3 * np.exp(-distance))


@dataclass(frozen=True)
class Kernel:
    """The sum over g groups of weight times likeness, for targets of mean 0 and variance 1.

    Args:
        groups: g of them; columns may belong to several.
        weights: variance of each, g.
        lengths: distance over which likeness falls, g (1 where the shape has none).
        noise: variance of a measurement.
    """

    groups: tuple[Group, ...]
    weights: Vector
    lengths: Vector
    noise: float

    def covariance(self, first: Matrix, second: Matrix) -> Matrix:
        """Return the covariance of `n x f` and `m x f` rows without noise, `n x m`."""
        statistics = [group.statistic(first, second) for group in self.groups]
        return self.combine(statistics)

    def combine(self, statistics: Sequence[Matrix]) -> Matrix:
        """Return the covariance of what the groups' statistics (g of `n x m`) tell."""
        total = np.full(statistics[0].shape, CONSTANT)
        terms = zip(self.groups, statistics, self.weights, self.lengths, strict=True)
        for group, statistic, weight, length in terms:
            total += weight * group.likeness(statistic, length)
        return total

    def diagonal(self, rows: Matrix) -> Vector:
        """Return the variance of every row before anything is observed, without noise, n."""
        variances = [
            weight * group.diagonal(rows)
            for group, weight in zip(self.groups, self.weights, strict=True)
        ]
        return np.asarray(CONSTANT + np.sum(variances, axis=0))

    def with_parameters(self, logarithms: Vector) -> "Kernel":
        """Return the kernel of other parameters: logarithms of the weights, of the lengths of the
        groups that have one, and of the noise.
        """
        count = len(self.groups)
        lengths = np.ones(count)
        lengths[self.has_length] = np.exp(logarithms[count:-1])
        weights = np.exp(logarithms[:count])
        return replace(self, weights=weights, lengths=lengths, noise=float(np.exp(logarithms[-1])))

    @property
    def parameters(self) -> Vector:
        """The logarithms that `with_parameters` takes."""
        lengths = self.lengths[self.has_length]
        return np.asarray(np.log(np.concatenate([self.weights, lengths, [self.noise]])))

    @property
    def has_length(self) -> list[int]:
        """Positions of the groups whose shape has a length."""
        return [i for i, group in enumerate(self.groups) if group.shape in WITH_LENGTH]

"""From known targets of the same space to a new one, with about ten measured subnets."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from predictors.latency.measured import checked_latencies, positive
from predictors.predictor import Prediction, Vector
from search_spaces import InputError, Population, SearchSpace

KnownLatency = Callable[[Population], Vector]
"""Latencies (ms) of any population on one known target: n."""

Matrix = npt.NDArray[np.float64]

LEAST_SUBNETS = 3
REFERENCE_SUBNETS = 2000  # over which known latencies are standardised, unless they are given
ONE_TARGET_SHARE = 0.9  # of the prior variance, where the new target is taken for like one known
NOISES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # variance, in units of the fitted signal's
FLAT_VARIANCE = 100.0  # of the constant, where measured latencies have variance 1: says nothing
TEMPERATURE = 0.5  # power of the likelihood: few samples tell models apart less well than it says


def known_latencies(known: Sequence[KnownLatency], population: Population) -> Matrix:
    """Return the latencies (ms) of a population on every known target, `n x k`."""
    columns = [np.asarray(latency(population), dtype=np.float64) for latency in known]
    return np.stack(columns, axis=1)


class Transfer:
    """An average of Bayesian lines through the known targets' latencies, in milliseconds.

    Every model says latency = constant + weights . known latencies (standardised) + noise, with a
    normal prior on the weights: either all known targets share its variance, or one of them has
    nine tenths of it ("the new device is much like that one"). Models and noise levels are averaged
    by their marginal likelihood on the measured subnets (Hoeting et al., 1999; tempered as in
    arXiv:1412.3730); the average is again a line with a covariance, so predicting is one matrix
    product. Residuals are exact leave-one-out ones, weights of the models included.

    Known latencies should be smooth, such as the mean of a predictor fitted to many measurements:
    their noise ends in the guess.

    Args:
        space: what populations are of.
        known: at least one target.
        reference: subnets over which known latencies are standardised; by default a sample.

    Raises:
        InputError: no known target.
    """

    def __init__(
        self,
        space: SearchSpace,
        known: Sequence[KnownLatency],
        reference: Population | None = None,
    ) -> None:
        if not known:
            raise InputError(
                f"transfer needs a known profile of {space.name} from another device; import one "
                "with `nas profile import`, or measure layers"
            )
        self._space, self._known, self._reference = space, tuple(known), reference
        self._measured: Vector = np.ones(1)
        self._line: Vector = np.zeros(1 + len(known))
        self._covariance: Matrix = np.eye(1 + len(known))
        self._noise = 0.0
        self._residuals: Vector = np.zeros(0)

    def fit(self, population: Population, targets: Vector) -> None:
        """Fit to n measured latencies (ms).

        Raises:
            InputError: fewer than 3, another number than subnets, or one that is not positive.
        """
        measured = checked_latencies(population, targets, LEAST_SUBNETS)
        centre, scale = measured.mean(), max(float(measured.std()), 1e-6 * float(measured.mean()))
        average = _average_of_lines(self._columns(population), (measured - centre) / scale)
        self._measured = measured
        self._line = average.line * scale
        self._line[0] += centre
        self._covariance = average.covariance * scale**2
        self._noise = average.noise * scale**2
        self._residuals = average.residuals

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms: mean and spread (of a measurement), each n."""
        columns = self._columns(population)
        mean = positive(columns @ self._line, self._measured)
        variance = np.einsum("nk,kl,nl->n", columns, self._covariance, columns, optimize=True)
        std = np.sqrt(np.maximum(variance, 0.0) + self._noise)
        return Prediction(mean, std, self._residuals)

    def _columns(self, population: Population) -> Matrix:
        """One and the standardised known latencies, `n x (1 + k)`."""
        centre, scale = self._standard
        known = (known_latencies(self._known, population) - centre) / scale
        return np.hstack([np.ones((len(population), 1)), known])

    @cached_property
    def _standard(self) -> tuple[Vector, Vector]:
        reference = self._reference
        if reference is None:
            reference = self._space.sample(REFERENCE_SUBNETS, np.random.default_rng(0))
        latencies = known_latencies(self._known, reference)
        mean = latencies.mean(axis=0)
        return mean, np.maximum(latencies.std(axis=0), 1e-9 * mean)


class _Average:
    """What the average of all models says: a line, its covariance, the noise, residuals."""

    def __init__(self, models: list["_Model"], y: Vector) -> None:
        weights = _shares(np.array([model.log_likelihood for model in models]))  # m
        lines = np.stack([model.line for model in models])  # m x (1 + k)
        self.line = weights @ lines
        off = lines - self.line
        within = sum(w * m.covariance for w, m in zip(weights, models, strict=True))
        self.covariance: Matrix = within + (off * weights[:, None]).T @ off
        self.noise = float(weights @ [model.noise for model in models])

        # without subnet i, the models' weights are others too: m x n
        shares = _shares(np.stack([model.left_out_log_likelihood for model in models]))
        guesses = np.stack([y - model.left_out_error for model in models])
        mean = (shares * guesses).sum(axis=0)
        spread = np.stack([model.left_out_variance for model in models]) + (guesses - mean) ** 2
        self.residuals = (y - mean) / np.sqrt((shares * spread).sum(axis=0))


class _Model:
    """One Bayesian line: a prior variance for each column's weight, a noise.

    Marginal likelihood with the scale fitted, its parts with one subnet left out in closed form
    (Rasmussen and Williams, 2006, eq. 5.12, with the determinant's update).
    """

    def __init__(
        self,
        columns: Matrix,
        prior: Vector,
        y: Vector,
        precision: Matrix,
        log_det: float,
        nu: float,
    ) -> None:
        n = len(y)
        weighted = precision @ y
        diagonal = np.diag(precision)
        square = max(float(y @ weighted), 1e-12)
        scale = square / (n - 1)
        self.log_likelihood = -0.5 * ((n - 1) * np.log(scale) + log_det)
        gain = prior[:, None] * (columns.T @ precision)  # (1 + k) x n
        self.line: Vector = gain @ y
        self.covariance: Matrix = scale * (np.diag(prior) - gain @ columns * prior)
        self.noise = scale * nu

        self.left_out_error: Vector = weighted / diagonal  # n
        left_out = np.maximum(square - weighted * self.left_out_error, 1e-12) / (n - 2)
        self.left_out_log_likelihood: Vector = -0.5 * (
            (n - 2) * np.log(left_out) + log_det + np.log(diagonal)
        )
        self.left_out_variance: Vector = left_out / diagonal


def _average_of_lines(columns: Matrix, y: Vector) -> _Average:
    """Average lines through `n x (1 + k)` columns for n standardised latencies."""
    k = columns.shape[1] - 1
    models = []
    for favoured in range(k + 1):  # 0: none
        prior = np.full(1 + k, 1 / k)
        if favoured:
            prior *= 1 - ONE_TARGET_SHARE
            prior[favoured] += ONE_TARGET_SHARE
        prior[0] = FLAT_VARIANCE
        values, vectors = np.linalg.eigh((columns * prior) @ columns.T)
        for noise in NOISES:
            eigenvalues = np.maximum(values, 0.0) + noise
            precision = (vectors / eigenvalues) @ vectors.T
            log_det = float(np.log(eigenvalues).sum())
            models.append(_Model(columns, prior, y, precision, log_det, noise))
    return _Average(models, y)


def _shares(log_likelihood: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn log likelihoods (models first) into tempered shares that add up to 1."""
    tempered = TEMPERATURE * (log_likelihood - log_likelihood.max(axis=0))
    shares = np.exp(tempered)
    return np.asarray(shares / shares.sum(axis=0))

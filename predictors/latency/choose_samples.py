"""Which subnets to measure: those that tell most about all the others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from predictors.latency.transfer import KnownLatency, Matrix, known_latencies
from search_spaces import InputError, Population, SearchSpace

MOST_CANDIDATES = 3000
NOISE = 0.03  # variance of a measurement, where the first features' variance is 1 in all
OPTION_VARIANCE = 0.01  # of all options together: what the first features do not tell
CONSTANT_VARIANCE = 10.0  # prior of the constant: wide


def sample_features(
    space: SearchSpace, population: Population, known: Sequence[KnownLatency] = ()
) -> Matrix:
    """Return what to spread samples over, `n x f`, columns as wide as they matter.

    Latencies (ms) on the known targets; without any, log costs where the space has layers. Beside
    them, a hundredth as much variance, the options themselves: no line through the first is exact.
    """
    options = np.asarray(space.features(population), dtype=np.float64)
    if known:
        first = known_latencies(known, population)
    elif space.slots:
        costs = space.layers.costs(population)
        first = np.log(np.stack([costs.macs, costs.num_params], axis=1))
    else:
        return _wide(options, 1.0)
    return np.hstack([_wide(first, 1.0), _wide(options, OPTION_VARIANCE)])


def choose_samples(features: Matrix, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose `n` rows of a pool so that a line through them tells most about the whole pool.

    Greedy I-optimal design: each next row lowers the mean posterior variance over the pool most,
    for latency = constant + weights . features + noise with standard normal weights. Candidates are
    a random half of the pool (3,000 at most), so that other draws choose others.

    Args:
        features: of the pool, `N x f`, as `sample_features` returns them; a wider column counts
            more.
        n: at most N.
        rng: draws the candidates.

    Raises:
        InputError: n is not between 1 and N.
    """
    size = len(features)
    if not 1 <= n <= size:
        raise InputError(f"expected to choose between 1 and {size} subnets, got {n}")
    rows = np.hstack([np.ones((size, 1)), features - features.mean(axis=0)])
    covariance = np.diag([CONSTANT_VARIANCE, *[1.0] * features.shape[1]])
    moments = rows.T @ rows / size

    num_candidates = min(MOST_CANDIDATES, max(-(-size // 2), n))
    candidates = rng.choice(size, num_candidates, replace=False)
    candidate_rows = rows[candidates]
    free = np.ones(num_candidates, dtype=np.bool_)
    chosen = np.empty(n, dtype=np.intp)
    for i in range(n):
        gains = candidate_rows @ covariance  # candidates x (1 + f)
        variance = NOISE + (gains * candidate_rows).sum(axis=1)
        decrease = ((gains @ moments) * gains).sum(axis=1) / variance
        best = int(np.argmax(np.where(free, decrease, -1.0)))
        free[best] = False
        chosen[i] = candidates[best]
        covariance -= np.outer(gains[best], gains[best]) / variance[best]
    return chosen


def _wide(columns: Matrix, variance: float) -> Matrix:
    """Scale columns to equal variances that add up to `variance`; one that never varies to 0."""
    centred = columns - columns.mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > 1e-9 * np.maximum(np.abs(columns).max(axis=0, initial=0.0), 1e-9)
    standard = np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)
    return np.asarray(standard * np.sqrt(variance / max(int(varies.sum()), 1)))

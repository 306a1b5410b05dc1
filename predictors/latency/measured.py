"""The door of every latency predictor: measured latencies, checked."""

import numpy as np

from predictors.predictor import Vector
from search_spaces import InputError, Population


def checked_latencies(population: Population, targets: Vector, least: int = 0) -> Vector:
    """Return the latencies (ms) as float64, one for each of `least` or more subnets.

    Raises:
        InputError: too few subnets, another number of latencies, or one that is not positive and
            finite.
    """
    latencies = np.array(targets, dtype=np.float64)
    positive = np.isfinite(latencies) & (latencies > 0)
    if latencies.shape != (len(population),) or not positive.all():
        raise InputError(
            f"expected a positive latency for each of {len(population)} subnets, "
            f"got {latencies.tolist()}"
        )
    if len(latencies) < least:
        raise InputError(
            f"expected {least} or more measured subnets, got {len(latencies)}; measure more"
        )
    return latencies


def positive(mean: Vector, measured: Vector) -> Vector:
    """Bend guesses (ms) below half of the least measured one so that they stay above 0, in order.

    A line runs below zero where nothing was measured; cutting it off would lose the ranks.
    """
    floor = float(measured.min()) / 2
    below = np.maximum(floor - mean, 0.0)
    return np.asarray(np.where(below > 0, floor**2 / (floor + below), mean), dtype=np.float64)

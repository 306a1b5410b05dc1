"""Learning rates over a training."""

import math
from collections.abc import Callable

from nas.config import TrainingConfig, chosen


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Return the rate at a progress in epochs: a linear warm-up, then the recipe's schedule."""
    warm_up = config.warm_up_epochs
    if progress < warm_up:
        return config.learning_rate * (progress + 0.1) / (warm_up + 0.1)
    return config.learning_rate * SCHEDULES[config.schedule](config, progress - warm_up)


def _cosine(config: TrainingConfig, progress: float) -> float:
    """Half a cosine to 0 (arXiv:1608.03983)."""
    share = progress / max(config.epochs - config.warm_up_epochs, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _exponential(config: TrainingConfig, progress: float) -> float:
    """Exponential decay with a constant ending (BigNAS, arXiv:2003.11142)."""
    decayed: float = chosen(config.decay) ** (progress / chosen(config.decay_epochs))
    return max(decayed, chosen(config.constant_ending))


SCHEDULES: dict[str, Callable[[TrainingConfig, float], float]] = {
    "cosine": _cosine,
    "exponential": _exponential,
}

import math
from itertools import pairwise

import numpy as np
import pytest

from nas.config import TrainingConfig
from nas.training.schedules import learning_rate


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.4 * 0.1 / 2.1),
        (1.0, 0.4 * 1.1 / 2.1),
        (2.0, 0.4),
        (2.0 + 18 / 4, 0.4 * (0.5 + math.sqrt(0.125))),
        (2.0 + 9, 0.2),
        (2.0 + 18 * 2 / 3, 0.4 * 0.25),
        (20.0, 0.0),
    ],
)
def test_learning_rate_warms_up_and_follows_half_a_cosine(progress, expected):
    config = TrainingConfig(epochs=20, warm_up_epochs=2, learning_rate=0.4)
    assert learning_rate(config, progress) == pytest.approx(expected, abs=1e-12)


def test_learning_rate_without_warm_up_starts_at_the_top():
    config = TrainingConfig(epochs=10, warm_up_epochs=0, learning_rate=0.4)
    assert learning_rate(config, 0) == pytest.approx(0.4)
    rates = [learning_rate(config, progress) for progress in np.linspace(0, 10, 50)]
    assert all(a >= b for a, b in pairwise(rates))


def test_learning_rate_with_more_warm_up_than_epochs_only_rises():
    config = TrainingConfig(epochs=2, warm_up_epochs=5)
    rates = [learning_rate(config, progress) for progress in np.linspace(0, 2, 20)]
    assert all(a < b for a, b in pairwise(rates))
    assert rates[-1] < config.learning_rate


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.256 * 0.1 / 5.1),
        (5.0, 0.256),
        (5.0 + 2.4, 0.256 * 0.97),
        (5.0 + 24, 0.256 * 0.97**10),
        (5.0 + 2.4 * 98, 0.256 * 0.97**98),  # 0.0505 of it: the last above the ending
        (5.0 + 2.4 * 99, 0.256 * 0.05),
        (360.0, 0.256 * 0.05),
    ],
)
def test_exponential_decay_ends_constant(progress, expected):
    """The published recipe: 0.256 x 0.97 every 2.4 epochs, never below 5 % of it."""
    config = TrainingConfig(
        epochs=360, warm_up_epochs=5, learning_rate=0.256, schedule="exponential"
    )
    assert learning_rate(config, progress) == pytest.approx(expected, rel=1e-12)

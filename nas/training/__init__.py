"""Supernet training: strategies say what to train in a step, the trainer owns the only loop."""

from collections.abc import Callable

from nas.config import TrainingConfig
from nas.training.attentive import Attentive
from nas.training.delayed import Delayed
from nas.training.progressive import Progressive
from nas.training.sandwich import Sandwich
from nas.training.single_path import SinglePath
from nas.training.sorted_nested import SortedNested
from nas.training.strategy import Strategy
from search_spaces import SearchSpace

STRATEGIES: dict[str, Callable[[SearchSpace, TrainingConfig], Strategy]] = {
    "single-path": SinglePath,
    "sandwich": Sandwich,
    "progressive": Progressive,
    "delayed": Delayed,
    "attentive": Attentive,
    "sorted": SortedNested,
}

__all__ = ["STRATEGIES", "Strategy"]

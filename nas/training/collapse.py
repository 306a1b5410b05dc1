"""Notices when the smallest subnet has unlearnt."""

from collections.abc import Mapping
from typing import Any

from nas.task import Task

SHARE = 0.5  # of the best accuracy so far
TIMES_CHANCE = 3.0  # the best has to be, before a fall means anything


class Collapse:
    """Watches "smallest_accuracy" of evaluations; of metrics other than accuracy it says nothing,
    since their scale is not known.

    Args:
        num_classes: one in so many is right by chance.
    """

    def __init__(self, task: Task, num_classes: int) -> None:
        self._watches = task.metric == "accuracy"
        self._learnt = min(TIMES_CHANCE / num_classes, 0.75)
        self.best = 0.0

    def look(self, figures: Mapping[str, Any]) -> str | None:
        """Return why to go back, or None, and remember the best."""
        accuracy = figures.get("smallest_accuracy")
        if not self._watches or accuracy is None:
            return None
        if self.best >= self._learnt and accuracy < SHARE * self.best:
            return f"the smallest subnet fell from {self.best:.1%} to {accuracy:.1%} accuracy"
        self.best = max(self.best, accuracy)
        return None

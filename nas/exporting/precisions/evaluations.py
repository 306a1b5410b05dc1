"""Counted calls of the user's `evaluate`."""

import math

from nas.exporting.precisions.conversion import Settings
from search_spaces import InputError


class Evaluations:
    """Evaluates models, counts and reports.

    Args:
        settings: with `evaluate`.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.evaluate is not None
        self._evaluate, self._progress = settings.evaluate, settings.progress
        self._total = settings.max_evaluations
        self.done = 0

    @property
    def left(self) -> int:
        """How many more are allowed."""
        return self._total - self.done

    def __call__(self, model: bytes, note: str) -> float:
        """Return the accuracy of a model.

        Raises:
            InputError: it is no finite number.
        """
        assert self.left > 0, "callers keep to what is left"
        accuracy = float(self._evaluate(model))
        if not math.isfinite(accuracy):
            raise InputError(f"expected a finite accuracy of {note}, got {accuracy}")
        self.done += 1
        self._progress(self.done, self._total, f"{note}: {100 * accuracy:.2f} %")
        return accuracy

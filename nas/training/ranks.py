"""The processes that train one supernet together."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from torch import Tensor

Made = TypeVar("Made")


class Ranks:
    """One process alone."""

    rank = 0
    size = 1

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return on all processes what the first one makes: anything that JSON can hold."""
        return make()

    def wait(self) -> None:
        """Wait for all processes."""

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes files and prints."""
        return self.rank == 0

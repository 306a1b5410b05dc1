"""The processes that train one supernet together."""

from collections.abc import Iterable

from torch import Tensor


class Ranks:
    """One process alone."""

    rank = 0
    size = 1

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""

    def wait(self) -> None:
        """Wait for all processes."""

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes files and prints."""
        return self.rank == 0

"""The checkpoints of one training: the last one, the one before it, and the last good one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.training.checkpoint import load_checkpoint, save_checkpoint
from search_spaces import InputError

Loaded = tuple[dict[str, Tensor], dict[str, Any]]


class Checkpoints:
    """Checkpoints beside each other in one folder; at every moment a whole one is there.

    Args:
        path: of the last one. The one before it is `earlier-NAME`, the last good one `good-NAME`.
        space: versioned name of the search space.
    """

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        self._space = space
        self._earlier, self._good = (
            path.with_name(f"{word}-{path.name}") for word in ("earlier", "good")
        )

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], good: bool) -> None:
        """Write the last checkpoint; a good one is what a roll-back goes back to."""
        if self.path.exists():
            _link(self.path, self._earlier)
        save_checkpoint(self.path, tensors, {"space": self._space, **state})
        if good:
            _link(self.path, self._good)

    def load(self) -> tuple[Loaded | None, str | None]:
        """Return the last checkpoint that is whole (None before the first), and why it is not the
        very last one, if it is not.

        Raises:
            InputError: none of those that are there can be used.
        """
        if not self.path.exists() and not self._earlier.exists():
            return None, None
        try:
            return load_checkpoint(self.path, self._space), None
        except InputError as error:
            if not self._earlier.exists():
                raise
            return load_checkpoint(self._earlier, self._space), str(error)

    def load_good(self) -> Loaded:
        """Return the last good checkpoint.

        Raises:
            InputError: damaged, or none there.
        """
        return load_checkpoint(self._good, self._space)


def _link(source: Path, target: Path) -> None:
    """Let a second name stand for a file, in one step."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)

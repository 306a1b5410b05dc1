"""The checkpoints of one training: the last one, the one before it, and the last good one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hardware_profiles.artifact import write_atomic
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
        save_checkpoint(self.path, tensors, {"space": self._space, "good": good, **state})
        if good:
            _copy(self.path, self._good)

    def load(self) -> tuple[Loaded | None, str | None]:
        """Return the last checkpoint that is whole (None before the first), and what is wrong with
        others, if something is. It is the last one from then on.

        Raises:
            InputError: none of those that are there can be used.
        """
        if not self.path.exists() and not self._earlier.exists():
            return None, None
        damage = None
        try:
            loaded = load_checkpoint(self.path, self._space)
        except InputError as error:
            if not self._earlier.exists():
                raise
            loaded = load_checkpoint(self._earlier, self._space)
            _link(self._earlier, self.path)  # else the next one would take the place of this
            damage = f"{str(error).partition(';')[0]}; going on from the one before it"
        if loaded[1].get("good"):
            _copy(self.path, self._good)  # a killed process may not have come to it
        elif "good" in loaded[1] and (reason := self._damage_of_good()) is not None:
            _copy(self.path, self._good)
            damage = "; ".join(filter(None, (damage, f"{reason}; the last one takes its place")))
        return loaded, damage

    def _damage_of_good(self) -> str | None:
        try:
            load_checkpoint(self._good, self._space)
        except InputError as error:
            return str(error).partition(";")[0]
        return None

    def load_good(self) -> Loaded:
        """Return the last good checkpoint.

        Raises:
            InputError: damaged, or none there.
        """
        return load_checkpoint(self._good, self._space)


def _link(source: Path, target: Path) -> None:
    """Let a second name stand for a file, in one step; for a copy where disks have no links."""
    temporary = _temporary(target)
    try:
        os.link(source, temporary)
    except OSError:
        _copy(source, target)
        return
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # where both were one file already, nothing was replaced


def _copy(source: Path, target: Path) -> None:
    """Copy a file, in one step: what damages the one leaves the other whole."""
    write_atomic(target, source.read_bytes())


def _temporary(target: Path) -> Path:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    return temporary

"""What a checkpoint has to be for a training to go on from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.training.checkpoints import Loaded
from search_spaces import InputError


def is_of_earlier_version(loaded: Loaded, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether a checkpoint lacks what this version, with these tensors, goes on with."""
    found, state = loaded
    return "records" not in state or found["guard"].shape != tensors["guard"].shape


def check_finished(state: Mapping[str, Any], epochs: int, path: Path) -> None:
    """Check that the training of an earlier version is done.

    Raises:
        InputError: it is not, and cannot be gone on with.
    """
    if state["epoch"] < epochs:
        raise InputError(
            f"{path}: in the middle of a training by version {state.get('tool_version')}, which "
            "this one cannot go on with; delete it to train anew"
        )


def check_sources(
    state: Mapping[str, Any], sources: Mapping[str, str | None], epochs: int, path: Path
) -> None:
    """Check that what training takes from elsewhere is as it was when it began.

    Raises:
        InputError: something is not, and training is not done.
    """
    if state["epoch"] == epochs:
        return
    before = state["sources"]
    for name in dict.fromkeys([*before, *sources]):
        if before.get(name) != sources.get(name):
            raise InputError(
                f"{name} has changed since training began at {path}; bring the old one back or "
                "start another run (--out)"
            )

"""Weights that a supernet starts from: imported ones, or those of another run's checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.training.checkpoint import load_checkpoint, read_state
from search_spaces import InputError, SearchSpace
from search_spaces.supernet import Supernet

WAY_OUT = "expected a file of `nas import-weights` or the checkpoint of a run"


def check_weights(path: Path, space: SearchSpace, kernel_transform: bool) -> None:
    """Check, without reading its tensors, that a file holds weights for a supernet.

    Raises:
        InputError: absent or another file, of another space or other classes, or with learned maps
            of kernels where the supernet has none, or the other way round.
    """
    state = weights_state(path)
    if state.get("space") != space.name:
        raise InputError(f"{path}: expected weights of {space.name}, got {state.get('space')}")
    settings = state.get("settings")
    for key, wanted in space.settings.items():
        found = settings.get(key, wanted) if isinstance(settings, dict) else wanted
        if found != wanted:
            noun = key.removeprefix("num_").replace("_", " ")
            raise InputError(f"{path}: the weights are for {found} {noun}, the data has {wanted}")
    if state.get("kernel_transform", kernel_transform) != kernel_transform:
        have = "with" if state["kernel_transform"] else "without"
        raise InputError(
            f"{path}: these are weights {have} learned maps of kernels; set "
            f"training.kernel_transform={str(not kernel_transform).lower()}"
        )


def weights_state(path: Path) -> dict[str, Any]:
    """Read what a file says of the weights in it.

    Raises:
        InputError: absent, or another file.
    """
    if not path.is_file():
        raise InputError(f"training.weights: no file {path}; `nas import-weights` writes one")
    return read_state(path, WAY_OUT)


def start_from(supernet: Supernet, path: Path, kernel_transform: bool) -> None:
    """Copy the weights of a file into a supernet; the state of an optimiser stays behind.

    Raises:
        InputError: absent or damaged, of another space, or of other layers or classes.
    """
    check_weights(path, supernet.space, kernel_transform)
    tensors, _ = load_checkpoint(path, supernet.space.name, WAY_OUT)
    load_weights(supernet, tensors, path)


def load_weights(supernet: Supernet, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy the weights of a checkpoint into a supernet.

    Raises:
        InputError: a weight is missing, too many, or of another shape.
    """
    own = supernet.state_dict()
    for name in tensors:
        kind, _, rest = name.partition(".")
        if kind == "weights" and rest not in own:
            raise InputError(f"{source}: {rest} has no place in {supernet.space.name}")
    with torch.no_grad():
        for name, parameter in own.items():
            found = tensors.get(f"weights.{name}")
            if found is None or found.shape != parameter.shape:
                got = "nothing" if found is None else tuple(found.shape)
                raise InputError(f"{source}: expected {name} {tuple(parameter.shape)}, got {got}")
            parameter.copy_(found)

"""One safetensors file with all that a run needs to go on: weights, optimiser state, how far it
is.
"""

import json
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hardware_profiles.artifact import FORMAT, content_hash, tool_version, write_atomic
from search_spaces import InputError

ANEW = "delete it to train anew"


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and JSON state into one file, atomically."""
    metadata = {
        "format": FORMAT,
        "kind": "checkpoint",
        "tool_version": tool_version(),
        **state,
    }
    metadata["sha256"] = checkpoint_hash(tensors, metadata)
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(contiguous, metadata={"state": json.dumps(metadata)}))


def load_checkpoint(
    path: Path, space: str, way_out: str = ANEW
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint of a space.

    Args:
        way_out: what to do about a damaged file.

    Raises:
        InputError: absent, truncated or edited, of another format or space.
    """
    state = read_state(path, way_out)
    if state.get("space") != space:
        raise InputError(
            f"{path}: expected a checkpoint of {space}, got one of {state.get('space')}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, struct.error) as error:
        raise _damaged(path, error, way_out) from None
    stated = state["sha256"]
    if checkpoint_hash(tensors, {k: v for k, v in state.items() if k != "sha256"}) != stated:
        raise _damaged(path, "its hash does not match its contents", way_out)
    return tensors, state


def read_state(path: Path, way_out: str = ANEW) -> dict[str, Any]:
    """Read the JSON state of a checkpoint without its tensors.

    Args:
        way_out: what to do about a damaged file.

    Raises:
        InputError: absent, truncated, or of another format.
    """
    if not path.exists():
        raise InputError(f"{path}: no checkpoint there; train first (`nas train`)")
    try:
        # that of torch looks twice, while a training may put another file in its place
        with safe_open(path, framework="np") as file:
            state = json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _damaged(path, error, way_out) from None
    if not isinstance(state, dict) or state.get("kind") != "checkpoint":
        raise _damaged(path, "it is no checkpoint", way_out)
    if state.get("format") != FORMAT:
        raise InputError(
            f"{path}: format {state.get('format')} written by version {state.get('tool_version')}; "
            f"this is {tool_version()}, which reads format {FORMAT}"
        )
    numbers = ("epoch", "epochs", "seed")
    if not all(isinstance(state.get(key), int) for key in numbers) or "sha256" not in state:
        raise _damaged(path, f"its state lacks one of {', '.join(numbers)} and sha256", way_out)
    return state


def checkpoint_hash(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """SHA-256 over the state and the names, shapes and values of all tensors."""
    digest = sha256(content_hash(state).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _damaged(path: Path, reason: object, way_out: str) -> InputError:
    return InputError(f"{path}: damaged checkpoint ({reason}); {way_out}")

"""Published weights as a file that runs start from."""

from pathlib import Path

from hardware_profiles.artifact import file_hash
from nas.training.checkpoint import save_checkpoint
from search_spaces import InputError, build_space
from search_spaces.published_weights import convert, has_kernel_transform, read_published


def import_published(space_name: str, source: Path, out: Path) -> dict[str, object]:
    """Convert weights that others published into a checkpoint of ours.

    Args:
        space_name: whose supernet they are: mobilenet-v3, mobilenet-v3-w1.2 or resnet-50d.
        source: a file of torch or safetensors; nothing of it is run.
        out: the file that `training.weights` names.

    Returns:
        What was imported: path, space, number of tensors and parameters, and the setting
        `training.kernel_transform` that a run with these weights needs.

    Raises:
        InputError: not such a file, or not the weights of this space; `out` is `source`.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} is the published file itself; write to another (--out)")
    weights = convert(space_name, read_published(source))
    transformed = has_kernel_transform(weights)
    space = build_space(space_name)
    state = {
        "space": space.name,
        "settings": dict(space.settings),
        "epoch": 0,
        "epochs": 0,
        "seed": 0,
        "kernel_transform": transformed,
        "made_from": file_hash(source),
    }
    save_checkpoint(out, {f"weights.{name}": value for name, value in weights.items()}, state)
    return {
        "path": str(out),
        "space": space_name,
        "tensors": len(weights),
        "num_params": sum(value.numel() for value in weights.values()),
        "kernel_transform": transformed,
    }

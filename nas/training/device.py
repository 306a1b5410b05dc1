"""Where training runs."""

import torch

from search_spaces import InputError


def training_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where PyTorch has one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"expected training.device auto, cpu, cuda or cuda:1, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"training.device is {name!r}, and PyTorch has {torch.cuda.device_count()} GPUs here; "
            "set it to auto or cpu"
        )
    return device

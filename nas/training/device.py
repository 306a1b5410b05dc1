"""Where training runs."""

import torch

from search_spaces import InputError


def training_device(name: str, local_rank: int | None = None) -> torch.device:
    """Return the device of a name; "auto" is a GPU where PyTorch has one.

    Args:
        local_rank: of one of several processes, of which each takes the GPU of its number.

    Raises:
        InputError: no such device here, or one GPU for several processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is not None and device.type == "cuda" and local_rank is not None:
        return _gpu_of_rank(device, local_rank)
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"expected training.device auto, cpu, cuda or cuda:1, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"training.device is {name!r}, and PyTorch has {torch.cuda.device_count()} GPUs here; "
            "set it to auto or cpu"
        )
    return device


def _gpu_of_rank(device: torch.device, local_rank: int) -> torch.device:
    if device.index is not None:
        raise InputError(
            f"training.device is {device}, one GPU for several processes; set it to cuda: each "
            "then takes its own"
        )
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"{local_rank + 1} or more processes share {torch.cuda.device_count()} GPUs; start as "
            "many as there are GPUs, or set training.device to cpu"
        )
    torch.cuda.set_device(local_rank)  # else every process would also take memory of the first GPU
    return torch.device("cuda", local_rank)

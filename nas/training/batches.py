"""Batches as the trainer takes them."""

import numpy as np
import torch
from torch import Tensor

from nas.config import TrainingConfig
from nas.data import Dataset, Inputs, Split, as_tensor, augment, normalised
from search_spaces import InputError

Batch = tuple[Inputs, Tensor]  # inputs, each b x ...; targets b, or b x ...
SHARE_OF_MEMORY = 0.5  # of what is free on a GPU: data that take less are held there


class Batches:
    """Augmented batches of the training samples, on the device.

    The samples are held on the device where they fit, so that a step moves nothing but indices.
    """

    def __init__(self, data: Dataset, config: TrainingConfig, device: torch.device) -> None:
        self._data, self._config, self._device = data, config, device
        self._samples = tuple(as_tensor(one) for one in (*data.train.inputs, data.train.targets))
        if device.type == "cuda" and _fits(sum(one.nbytes for one in self._samples), device):
            self._samples = tuple(one.to(device) for one in self._samples)

    def __call__(self, index: np.ndarray, generator: torch.Generator | None) -> Batch:
        """Return the samples at `index`, augmented by draws from `generator`; plain without."""
        places = torch.from_numpy(index).to(self._samples[0].device, non_blocking=True)
        *raw, targets = (one[places].to(self._device, non_blocking=True) for one in self._samples)
        inputs = normalised(self._data, tuple(raw))
        if generator is not None:
            inputs = augment(self._data, inputs, self._config, generator)
        return inputs, targets


def _fits(num_bytes: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < SHARE_OF_MEMORY * free


def shared_batch(batch_size: int, num_processes: int) -> int:
    """Check that processes can share a batch evenly, two samples or more each; return its size.

    Raises:
        InputError: they cannot.
    """
    if batch_size % num_processes or batch_size // num_processes < 2:
        raise InputError(
            f"a batch of {batch_size} cannot be shared by {num_processes} processes: expected "
            "training.batch_size to be a multiple of their number, two samples or more each"
        )
    return batch_size


def target_tensor(split: Split, index: np.ndarray | slice = slice(None)) -> Tensor:
    """Return the targets at `index`."""
    return as_tensor(split.targets[index])

"""Batches as the trainer takes them."""

import numpy as np
import torch
from torch import Tensor

from nas.config import TrainingConfig
from nas.data import Dataset, Inputs, Split, augment, input_tensors
from search_spaces import InputError

Batch = tuple[Inputs, Tensor]  # inputs, each b x ...; targets b, or b x ...


def training_batch(
    data: Dataset, index: np.ndarray, config: TrainingConfig, generator: torch.Generator
) -> Batch:
    """Return the training samples at `index`, augmented."""
    inputs = augment(data, input_tensors(data, data.train, index), config, generator)
    return inputs, target_tensor(data.train, index)


def target_tensor(split: Split, index: np.ndarray | slice = slice(None)) -> Tensor:
    """Return the targets at `index`."""
    return torch.from_numpy(np.ascontiguousarray(split.targets[index]))


def check_augmentation(data: Dataset, config: TrainingConfig) -> None:
    """Check that augmentation does not move images away from targets of the same size.

    Raises:
        InputError: targets have a place in the image, and images are shifted, turned or flipped.
    """
    moves = config.shift or config.rotate or config.scale or config.flip
    if data.modality == "image" and data.train.targets.ndim > 2 and moves:
        raise InputError(
            "augmentation would move the images but not their targets "
            f"{data.train.targets.shape[1:]}; set training.shift, rotate and scale to 0 and flip "
            "to false"
        )

"""Batches as the trainer takes them."""

import numpy as np
import torch
from torch import Tensor

from nas.config import TrainingConfig
from nas.data import Dataset, Inputs, Split, augment, input_tensors

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

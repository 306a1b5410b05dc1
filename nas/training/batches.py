"""Batches of normalised, augmented images."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import TrainingConfig
from nas.data import ImageData, Split

Batch = tuple[Tensor, Tensor]  # images b x c x h x w float32 (channels last in memory), labels b


class Normalizer:
    """uint8 images -> float32, per channel of mean 0 and standard deviation 1."""

    def __init__(self, data: ImageData) -> None:
        self.mean = torch.tensor(data.mean).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(data.std).view(1, -1, 1, 1) * 255

    def __call__(self, split: Split, index: np.ndarray | slice = slice(None)) -> Batch:
        """Return the images and labels at `index`."""
        images = torch.from_numpy(np.ascontiguousarray(split.images[index])).float()
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return images, torch.from_numpy(np.ascontiguousarray(split.labels[index]))


def augment(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Shift, rotate, scale and flip every image by its own random amount, in one affine resampling.

    `images`: b x c x h x w. What comes in from outside is 0, the mean colour.
    """
    if not (config.shift or config.rotate or config.scale or config.flip):
        return images
    n = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(config.rotate))
    factor = 1 + uniform(config.scale)
    mirror = torch.ones(n)
    if config.flip:
        mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    shift_x, shift_y = uniform(2 * config.shift), uniform(2 * config.shift)
    rows = [torch.stack([cosine * mirror, -sine, shift_x], dim=1)]
    rows.append(torch.stack([sine * mirror, cosine, shift_y], dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)

"""Images: uint8 in memory, normalised per channel, augmented a batch at a time."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import DataConfig, TrainingConfig
from nas.data.dataset import Dataset, Samples, Split, split_dataset
from nas.data.sources import (
    Parts,
    Source,
    digits,
    hugging_face_source,
    npz_source,
    python_source,
)
from nas.data.targets import check_targets
from search_spaces import InputError

Array = npt.NDArray[Any]

SOURCES: dict[str, Source] = {
    "digits": digits,
    "npz": npz_source(("x", "y")),
    "parquet": hugging_face_source("parquet"),
    "folder": hugging_face_source("folder"),
    "hub": hugging_face_source("hub"),
    "python": python_source("image"),
}


def image_dataset(parts: Parts, config: DataConfig, seed: int, classification: bool) -> Dataset:
    """Check and split images n x height x width (x 1 or 3 channels) uint8.

    Raises:
        InputError: another shape or type, or bad targets.
    """

    def checked(arrays: tuple[Array, ...]) -> Split:
        images = _check(np.asarray(arrays[0]), config.source)
        return Split(
            (images,),
            check_targets(arrays[1], len(images), "images", config.source, classification),
        )

    samples = Samples({key: checked(part) for key, part in parts.arrays.items()}, parts.class_names)
    return split_dataset(
        samples,
        config,
        seed,
        modality="image",
        classification=classification,
        statistics=_channel_statistics,
    )


def _check(images: Array, source: str) -> Array:
    if images.dtype != np.uint8:
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise InputError(
                f"{source}: images hold NaN or infinite values; expected uint8, 0 to 255"
            )
        raise InputError(f"{source}: expected images as uint8 (0 to 255), got {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{source}: expected images n x height x width (x 1 or 3 channels), got {images.shape}"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _channel_statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    by_channel = images.transpose(1, 0, 2, 3).reshape(images.shape[1], -1)
    statistics = [_mean_and_std(channel) for channel in by_channel]
    return (
        tuple(mean for mean, _ in statistics),
        tuple(max(std, 1e-3) for _, std in statistics),
    )


def _mean_and_std(channel: Array) -> tuple[float, float]:
    """Mean and standard deviation of bytes scaled to 0..1, from their histogram."""
    shares = np.bincount(channel, minlength=256) / channel.size
    levels = np.arange(256) / 255
    mean = float(shares @ levels)
    return mean, float(np.sqrt(shares @ (levels - mean) ** 2))


def image_tensors(data: Dataset, inputs: tuple[Array, ...]) -> tuple[Tensor, ...]:
    """Return images n x c x h x w float32 of mean 0 and deviation 1, channels last in memory."""
    mean = torch.tensor(data.mean).view(1, -1, 1, 1) * 255
    std = torch.tensor(data.std).view(1, -1, 1, 1) * 255
    images = torch.from_numpy(np.ascontiguousarray(inputs[0])).float()
    return (((images - mean) / std).contiguous(memory_format=torch.channels_last),)


def augment_images(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Shift, rotate, scale and flip every image by its own random amount.

    Shifts of a pixel or more, and flips, alone move whole pixels, as is usual (arXiv:1512.03385,
    section 4.2); otherwise all is one affine resampling. What comes in from outside is 0, the mean
    colour.

    Args:
        images: b x c x h x w, on any device.
        config: shift, as a share of the size, and the other amounts.
        generator: on the CPU, so that draws are the same on every device.
    """
    if not (config.shift or config.rotate or config.scale or config.flip):
        return images
    below_a_pixel = 0 < config.shift * min(images.shape[2:]) < 1
    if config.rotate or config.scale or below_a_pixel:
        return _resampled(images, config, generator)
    return _moved(images, config, generator)


def _moved(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Shift by whole pixels and flip."""
    height, width = images.shape[2:]
    below, beside = (int(config.shift * extent) for extent in (height, width))
    rows = _positions(len(images), height, below, generator)
    columns = _positions(len(images), width, beside, generator)
    if config.flip:
        flipped = _coins(len(images), generator)[:, None]
        columns = torch.where(flipped, columns.flip(1), columns)
    padded = F.pad(images, (beside, beside, below, below)).permute(0, 2, 3, 1)
    each, padded_height, padded_width, num_channels = padded.shape
    first_rows = torch.arange(each)[:, None, None] * padded_height
    pixels = (first_rows + rows[:, :, None]) * padded_width + columns[:, None, :]
    taken = padded.reshape(-1, num_channels).index_select(0, pixels.flatten().to(images.device))
    return taken.view(*pixels.shape, num_channels).permute(0, 3, 1, 2)


def _positions(num_images: int, extent: int, most: int, generator: torch.Generator) -> Tensor:
    """Return which rows, or columns, of images with `most` more on either side to take: n x e."""
    first = torch.randint(0, 2 * most + 1, (num_images, 1), generator=generator)
    return first + torch.arange(extent)


def _coins(num_images: int, generator: torch.Generator) -> Tensor:
    return torch.rand(num_images, generator=generator) < 0.5


def _resampled(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Shift, rotate, scale and flip in one affine resampling, bilinear."""
    n = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(config.rotate))
    factor = 1 + uniform(config.scale)
    mirror = torch.ones(n)
    if config.flip:
        mirror = torch.where(_coins(n, generator), -1.0, 1.0)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    shift_x, shift_y = uniform(2 * config.shift), uniform(2 * config.shift)
    rows = [torch.stack([cosine * mirror, -sine, shift_x], dim=1)]
    rows.append(torch.stack([sine * mirror, cosine, shift_y], dim=1))
    maps = torch.stack(rows, dim=1).to(images.device)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)

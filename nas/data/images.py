"""Images: uint8 in memory, normalised per channel, augmented a batch at a time."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import DataConfig, TrainingConfig
from nas.data.dataset import Dataset, Samples, Split, chunks, in_order, split_dataset
from nas.data.sources import (
    Parts,
    Source,
    digits,
    hugging_face_source,
    npy,
    npz_source,
    python_source,
)
from nas.data.targets import check_targets
from search_spaces import InputError

Array = npt.NDArray[Any]
COUNTED_BYTES = 1 << 30  # for mean and deviation

SOURCES: dict[str, Source] = {
    "digits": digits,
    "npz": npz_source(("x", "y")),
    "npy": npy,
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
        images = _check(np.asanyarray(arrays[0]), config.source)
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
    return in_order(images.transpose(0, 3, 1, 2))


def _channel_statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel of bytes scaled to 0..1, from their histograms.

    Of more than a gigabyte, images at even distances are counted.
    """
    counted = images[:: math.ceil(images.nbytes / COUNTED_BYTES)]
    counts = sum(map(_histograms, chunks(counted)))
    levels = np.arange(256) / 255
    statistics = [_mean_and_std(one / one.sum(), levels) for one in np.asarray(counts)]
    return (
        tuple(mean for mean, _ in statistics),
        tuple(max(std, 1e-3) for _, std in statistics),
    )


def _histograms(images: Array) -> npt.NDArray[np.intp]:
    """Count the bytes of every channel: channels x 256."""
    channels = range(images.shape[1])
    return np.stack([np.bincount(images[:, c].ravel(), minlength=256) for c in channels])


def _mean_and_std(shares: Array, levels: Array) -> tuple[float, float]:
    mean = float(shares @ levels)
    return mean, float(np.sqrt(shares @ (levels - mean) ** 2))


def normalised_images(data: Dataset, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return images n x c x h x w float32 of mean 0 and deviation 1, channels last in memory."""
    mean, std = (
        255 * torch.tensor(one).view(1, -1, 1, 1).to(inputs[0].device, non_blocking=True)
        for one in (data.mean, data.std)
    )
    images = (inputs[0].float() - mean) / std
    return (images.contiguous(memory_format=torch.channels_last),)


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
    taken = padded.reshape(-1, num_channels).index_select(
        0, pixels.flatten().to(images.device, non_blocking=True)
    )
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
    affine = torch.stack(rows, dim=1).to(images.device, non_blocking=True)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)

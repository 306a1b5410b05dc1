"""Sequences of feature vectors: n x features x frames, normalised per feature."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas.config import DataConfig
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
LEAST_STD = 1e-6  # of a feature, relative to its mean; below it the feature counts as constant

SOURCES: dict[str, Source] = {
    "digits": digits,  # read column by column: 8 features, 8 frames
    "npz": npz_source(("x", "y")),
    "parquet": hugging_face_source("parquet"),
    "folder": hugging_face_source("folder"),
    "hub": hugging_face_source("hub"),
    "python": python_source("sequence"),
}


def sequence_dataset(parts: Parts, config: DataConfig, seed: int, classification: bool) -> Dataset:
    """Check and split sequences n x features x frames; rows of images are features.

    Raises:
        InputError: another shape, values that are no finite numbers, or bad targets.
    """

    def checked(arrays: tuple[Array, ...]) -> Split:
        sequences = _check(np.asarray(arrays[0]), config.source)
        return Split(
            (sequences,),
            check_targets(arrays[1], len(sequences), "sequences", config.source, classification),
        )

    samples = Samples({key: checked(part) for key, part in parts.arrays.items()}, parts.class_names)
    return split_dataset(
        samples,
        config,
        seed,
        modality="sequence",
        classification=classification,
        statistics=_feature_statistics,
    )


def _check(sequences: Array, source: str) -> Array:
    if sequences.ndim == 4 and sequences.shape[3] == 1:  # images of one channel
        sequences = sequences[..., 0]
    if sequences.ndim != 3 or 0 in sequences.shape:
        raise InputError(
            f"{source}: expected sequences n x features x frames (or images of one channel), "
            f"got {sequences.shape}"
        )
    if sequences.dtype.kind not in "iuf":
        raise InputError(f"{source}: expected sequences of numbers, got {sequences.dtype}")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(sequences, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{source}: sequences hold NaN, infinite or too great values")
    return numbers


def _feature_statistics(sequences: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    numbers = sequences.astype(np.float64)
    means, stds = numbers.mean(axis=(0, 2)), numbers.std(axis=(0, 2))
    constant = stds <= LEAST_STD * np.abs(means)
    return (
        tuple(float(mean) for mean in means),
        tuple(1.0 if same else float(std) for same, std in zip(constant, stds, strict=True)),
    )


def normalised_sequences(data: Dataset, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return sequences n x features x frames float32, each feature of mean 0 and deviation 1."""
    mean, std = (
        torch.tensor(one).view(1, -1, 1).to(inputs[0].device, non_blocking=True)
        for one in (data.mean, data.std)
    )
    return ((inputs[0] - mean) / std,)

"""What a network is to answer: class numbers, or numbers of a task of the user's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces import InputError

Array = npt.NDArray[Any]
WAY_OUT = "other targets need a loss and a metric of your own (task.loss, task.metric)"


def check_targets(targets: Array, n: int, noun: str, source: str, classification: bool) -> Array:
    """Return targets as int64 or float32.

    For classification, n class numbers from 0. Otherwise whole numbers are classes too, of any
    further dimensions (n x h x w: one for each pixel); fractions are n, or n x k columns.

    Raises:
        InputError: another shape or type, or NaN.
    """
    targets = np.asarray(targets)
    if classification:
        return _check_labels(targets, n, noun, source)
    if targets.shape[:1] != (n,) or targets.dtype.kind not in "iufb" or 0 in targets.shape:
        raise InputError(
            f"{source}: expected numbers for each of {n} {noun}, "
            f"got {targets.shape} {targets.dtype}"
        )
    if targets.dtype.kind != "f":
        return targets.astype(np.int64)
    if targets.ndim > 2:
        raise InputError(
            f"{source}: expected fractions as n or n x k, got {targets.shape}; "
            "whole numbers may have more dimensions"
        )
    with np.errstate(over="ignore"):
        numbers = targets.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{source}: the targets hold NaN, infinite or too great values")
    return numbers


def _check_labels(labels: Array, n: int, noun: str, source: str) -> Array:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{source}: expected one whole-number label for each of {n} {noun}, "
            f"got {labels.shape} {labels.dtype}; {WAY_OUT}"
        )
    if labels.min() < 0:
        raise InputError(f"{source}: labels must count from 0, got {labels.min()}")
    if labels.max() >= len(labels):
        raise InputError(
            f"{source}: {len(labels)} samples are fewer than {int(labels.max()) + 1} classes "
            "(the greatest label, counted from 0)"
        )
    return labels.astype(np.int64)


def count_outputs(
    targets: Sequence[Array], names: Sequence[str] | None, classification: bool, source: str
) -> int:
    """Return how many outputs the targets of all splits ask for: classes, or columns of fractions.

    Raises:
        InputError: of a classification, fewer than two classes or too few samples of one.
    """
    if targets[0].dtype.kind == "f":
        return 1 if targets[0].ndim == 1 else int(targets[0].shape[1])
    together = np.concatenate(targets)
    num_classes = max(int(together.max()) + 1, len(names or ()), 1)
    if classification:
        _check_classes(together, num_classes, source)
    return num_classes


def _check_classes(labels: Array, num_classes: int, source: str) -> None:
    counts = np.bincount(labels, minlength=num_classes)
    if num_classes < 2:
        raise InputError(f"{source}: expected at least 2 classes, got {num_classes}")
    if len(labels) < num_classes:
        raise InputError(f"{source}: {len(labels)} samples are fewer than {num_classes} classes")
    if counts.min() < 3:
        few = int(counts.argmin())
        raise InputError(
            f"{source}: class {few} has {counts[few]} samples; expected 3 or more of each of "
            f"{num_classes} classes, for training, validation and test"
        )

"""What a network is to answer: class numbers, or numbers of a task of the user's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces import InputError

Array = npt.NDArray[Any]
IGNORED = (-1, 255, -100)  # labels of pixels that a loss of the user's own passes over
WAY_OUT = "other targets need a loss and a metric of your own (task.loss, task.metric)"


def check_targets(targets: Array, n: int, noun: str, source: str, classification: bool) -> Array:
    """Return targets as int64 or float32.

    For classification, n class numbers from 0. Otherwise whole numbers are classes too, of any
    further dimensions (n x h x w: one for each pixel); fractions are n x k columns, n x 1 where
    they came as n: beside outputs b x 1, targets b would make torch compare all with all.

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
        return _check_whole_numbers(targets, source)
    if targets.ndim > 2:
        raise InputError(
            f"{source}: expected fractions as n or n x k, got {targets.shape}; "
            "whole numbers may have more dimensions"
        )
    with np.errstate(over="ignore"):
        numbers = targets.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{source}: the targets hold NaN, infinite or too great values")
    return numbers.reshape(n, -1)


def _check_whole_numbers(targets: Array, source: str) -> Array:
    """Check what a loss of the user's own takes for classes; of pixels some may be ignored."""
    wrong = targets < 0
    if targets.ndim > 1:
        wrong &= ~np.isin(targets, IGNORED)
    if wrong.any():
        raise _no_classes(f"got {targets[wrong].flat[0]}", source)
    if targets.dtype.kind == "u" and targets.max() > np.iinfo(np.int64).max:
        raise _no_classes(f"got {targets.max()}", source)
    return targets.astype(np.int64)


def _no_classes(got: str, source: str) -> InputError:
    return InputError(
        f"{source}: whole numbers in y are classes, counted from 0; {got}: give y as fractions "
        "(float) for a regression"
    )


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


def check_kinds(targets: Mapping[str, Array], source: str) -> None:
    """Check that the targets of all splits are classes, or columns of as many fractions.

    Raises:
        InputError: one has classes where another has fractions.
    """
    kinds = {name: "fractions" if y.dtype.kind == "f" else "classes" for name, y in targets.items()}
    if len(set(kinds.values())) > 1:
        got = ", ".join(f"{kind} in {name}" for name, kind in kinds.items())
        raise InputError(f"{source}: expected targets of one kind (float or int), got {got}")


def count_outputs(
    targets: Sequence[Array], names: Sequence[str] | None, classification: bool, source: str
) -> int:
    """Return how many outputs the targets of all splits ask for: classes, or columns of fractions.

    Raises:
        InputError: of a classification, fewer than two classes or too few samples of one; of whole
            numbers for a loss of the user's own, more classes than samples.
    """
    if targets[0].dtype.kind == "f":
        return int(targets[0].shape[1])
    together = np.concatenate(targets)
    greatest = int(together.max())
    if greatest == 255 and together.ndim > 1 and not (together == 254).any():  # ignored pixels
        greatest = int(together[together != 255].max(initial=0))
    num_classes = max(greatest + 1, len(names or ()), 1)
    if classification:
        _check_classes(together, num_classes, names, source)
    elif num_classes > together.size:
        raise _no_classes(f"got {greatest} among {together.size} of them", source)
    return num_classes


def _check_classes(
    labels: Array, num_classes: int, names: Sequence[str] | None, source: str
) -> None:
    counts = np.bincount(labels, minlength=num_classes)
    if num_classes < 2:
        raise InputError(f"{source}: expected at least 2 classes, got {num_classes}")
    if len(labels) < num_classes:
        raise InputError(f"{source}: {len(labels)} samples are fewer than {num_classes} classes")
    if counts.min() < 3:
        few = int(counts.argmin())
        raise InputError(
            f"{source}: class {class_name(few, names)} has {counts[few]} samples; expected 3 or "
            f"more of each of {num_classes} classes, for training, validation and test"
        )


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Return how a class is called in messages: by its name where it has one of its own."""
    if names is None or number >= len(names) or names[number] == str(number):
        return str(number)
    return f"{names[number]!r}"

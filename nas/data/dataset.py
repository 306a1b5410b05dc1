"""Samples and their targets for training, validation and test: one fixed seeded split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas.config import DataConfig
from nas.data.targets import check_kinds, class_name, count_outputs
from search_spaces import InputError

Array = npt.NDArray[Any]
Statistics = Callable[[Array], tuple[tuple[float, ...], tuple[float, ...]]]
NOUNS = {"image": "images", "tokens": "texts", "sequence": "sequences"}
CHUNK_BYTES = 1 << 24  # of a data set that may be larger than memory


@dataclass(frozen=True)
class Split:
    """n samples: the inputs of the network, and what it is to answer."""

    inputs: tuple[Array, ...]  # each n x ...: images; ids and mask; sequences
    targets: Array  # n class numbers; or n x k numbers; or n x ... class numbers

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: npt.NDArray[np.intp]) -> "Split":
        """Return the samples at `index`."""
        return Split(tuple(one[index] for one in self.inputs), self.targets[index])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of inputs and targets, without the samples."""
        return tuple(one.shape[1:] for one in (*self.inputs, self.targets))


@dataclass(frozen=True)
class Dataset:
    """The three splits: training sees the first, search the second, the final table the third.

    Images are n x c x h x w uint8; tokens n x t ids and masks; sequences n x features x frames
    float32.
    """

    train: Split
    validation: Split
    test: Split
    modality: str
    class_names: tuple[str, ...]  # empty where the targets are no classes
    num_classes: int  # or columns of the targets
    mean: tuple[float, ...] = ()  # of training: per channel of images scaled to 0..1, per feature
    std: tuple[float, ...] = ()
    vocabulary: int = 0  # of tokens: ids are below it
    tokenizer: str | None = None  # how texts became ids; None where they came as ids

    @property
    def settings(self) -> dict[str, int]:
        """What a space's builder must know of the data."""
        shape = self.train.inputs[0].shape[1:]
        if self.modality == "tokens":
            return {
                "num_classes": self.num_classes,
                "vocabulary": self.vocabulary,
                "length": shape[0],
            }
        if self.modality == "sequence":
            return {
                "num_classes": self.num_classes,
                "num_features": shape[0],
                "frames": shape[1],
            }
        return {"num_classes": self.num_classes, "input_channels": shape[0]}

    @property
    def num_samples(self) -> dict[str, int]:
        """Samples by split."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(split) for name, split in splits.items()}

    def sha256(self) -> str:
        """Hash of all inputs and targets, split by split; mapped files are hashed as they lie."""
        digest = sha256()
        for split in (self.train, self.validation, self.test):
            for one in split.inputs:
                digest.update(str(one.shape).encode())
                for chunk in chunks(_in_file_order(one)):
                    digest.update(np.ascontiguousarray(chunk).data)
            if split.targets.ndim > 1 or split.targets.dtype != np.int64:
                digest.update(f"{split.targets.shape} {split.targets.dtype}".encode())
            digest.update(np.ascontiguousarray(split.targets).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Samples:
    """Checked samples of a source, by split: all of them in "train" where it has no splits."""

    parts: Mapping[str, Split]
    class_names: Sequence[str] | None = None


def as_tensor(array: Array) -> Tensor:
    """Return an array as a tensor, without a copy where it is mapped or in order."""
    ordered = in_order(array)
    return torch.from_numpy(ordered if ordered.flags.writeable else ordered.copy())


def in_order(array: Array) -> Array:
    """Return an array whose last dimension is together in memory; a mapped file as it is."""
    mapped = isinstance(array, np.memmap) and array.flags.writeable
    return array if mapped else np.ascontiguousarray(array)


def _in_file_order(array: Array) -> Array:
    """Return a view of a mapped file that is read from its beginning to its end."""
    if not isinstance(array, np.memmap):
        return array
    return array.transpose(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))


def chunks(array: Array) -> Iterator[Array]:
    """Yield views of an array's samples in order, each of a few megabytes."""
    size = max(1, CHUNK_BYTES * len(array) // max(array.nbytes, 1))
    return (array[start : start + size] for start in range(0, len(array), size))


def split_dataset(
    samples: Samples,
    config: DataConfig,
    seed: int,
    *,
    modality: str,
    classification: bool,
    statistics: Statistics | None = None,
    vocabulary: int = 0,
    tokenizer: str | None = None,
) -> Dataset:
    """Carve off the splits that a source lacks: of classes stratified, else at random.

    Then at most `config.max_samples` of training are kept; validation and test stay whole.

    Args:
        statistics: mean and standard deviation of the training inputs.

    Raises:
        InputError: too few samples or classes, or splits of different shapes.
    """
    parts, names, noun = samples.parts, samples.class_names, NOUNS[modality]
    rng = np.random.default_rng([seed, 0x5EED])
    check_kinds({name: split.targets for name, split in parts.items()}, config.source)
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    if test is None:
        train, test = _carve(train, config.test_share, rng, classification)
    if validation is None:
        share_left = 1.0 if "test" in parts else 1 - config.test_share
        share = config.validation_share / share_left
        train, validation = _carve(train, share, rng, classification)
    splits = (train, validation, test)
    if len({split.shapes for split in splits}) != 1:
        raise InputError(f"{config.source}: the splits hold {noun} of different sizes")
    targets = [split.targets for split in splits]
    num_classes = count_outputs(targets, names, classification, config.source)
    present = np.unique(train.targets) if classification else np.arange(num_classes)
    if len(present) < num_classes or min(map(len, splits)) < 2:
        got = f"{len(train)}, "
        if classification:
            absent = sorted(set(range(num_classes)) - set(present.tolist()))
            lacking = f" (not {class_name(absent[0], names)})" if absent else ""
            got = f"{len(present)} of {num_classes} classes{lacking}, "
        raise InputError(
            f"{config.source}: expected {'all classes' if classification else 'samples'} in "
            f"training and 2 or more validation and test {noun}, got {got}"
            f"{len(validation)} and {len(test)} {noun}"
        )
    least = max(2, num_classes if classification else 0)
    if 0 < config.max_samples < least:
        each = ", one of each class" if classification else ""
        raise InputError(
            f"{config.source}: expected data.max_samples of at least {least}{each}, or 0 for all "
            f"training {noun}, got {config.max_samples}"
        )
    train = _at_most(train, config.max_samples or len(train), rng, classification)
    mean, std = _statistics(train, config, statistics)
    are_classes = train.targets.dtype.kind == "i"
    default_names = [str(i) for i in range(num_classes)] if are_classes else []
    return Dataset(
        train,
        validation,
        test,
        modality=modality,
        class_names=tuple(names or default_names),
        num_classes=num_classes,
        mean=mean,
        std=std,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
    )


def _statistics(
    train: Split, config: DataConfig, statistics: Statistics | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the inputs: as the recipe states them, else as counted.

    Raises:
        InputError: not as many are stated as there are channels.
    """
    if statistics is None or not config.mean:
        return statistics(train.inputs[0]) if statistics else ((), ())
    channels = train.inputs[0].shape[1]
    if len(config.mean) != channels or len(config.std) != channels:
        raise InputError(
            f"data.mean and data.std: expected {channels} numbers each, one a channel, got "
            f"{list(config.mean)} and {list(config.std)}"
        )
    return tuple(config.mean), tuple(config.std)


def _carve(
    split: Split, share: float, rng: np.random.Generator, stratified: bool
) -> tuple[Split, Split]:
    """Take `share` of every class (or of all samples) away: (rest, taken)."""
    taken = np.zeros(len(split), dtype=np.bool_)
    groups = split.targets if stratified else np.zeros(len(split))
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        taken[members[: max(1, round(len(members) * share))]] = True
    order = rng.permutation(len(split))
    return split.take(order[~taken[order]]), split.take(order[taken[order]])


def _at_most(split: Split, most: int, rng: np.random.Generator, stratified: bool) -> Split:
    """Keep `most` samples: of every class the same share as far as that goes, and at least one."""
    if len(split) <= most:
        return split
    groups = split.targets if stratified else np.zeros(len(split))
    order = rng.permutation(len(split))
    places = np.zeros(len(split))  # of a sample within its class: 0 for the first, below 1
    for group in np.unique(groups):
        members = order[groups[order] == group]
        places[members] = np.arange(len(members)) / len(members)
    return split.take(order[np.argsort(places[order], kind="stable")[:most]])

"""Texts as token ids with a mask: read as they are, or made from words by hashing."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nas.config import DataConfig
from nas.data.dataset import Dataset, Samples, Split, split_dataset
from nas.data.docstrings import docstrings
from nas.data.sources import Parts, Source, npz_source, python_source
from nas.data.targets import check_targets
from search_spaces import InputError

Array = npt.NDArray[Any]
PADDING, START = 0, 1
WORD = re.compile(r"\w+|[^\w\s]")
TOKENIZER = (
    r"hashed-words: lower case; words and signs by \w+|[^\w\s]; "
    "id = 2 + crc32(UTF-8) % (vocabulary - 2); 1 first, 0 to the length"
)


def tokenize(texts: Iterable[str], vocabulary: int, length: int) -> Array:
    """Return ids n x `length` below `vocabulary`: 1, then hashed words, then 0."""
    rows = []
    for text in texts:
        words = WORD.findall(text.lower())[: length - 1]
        ids = [2 + crc32(word.encode()) % (vocabulary - 2) for word in words]
        rows.append([START, *ids] + [PADDING] * (length - 1 - len(ids)))
    return np.array(rows, dtype=np.int32).reshape(-1, length)


def _docstrings(_: str, config: DataConfig, __: bool) -> Parts:
    texts, labels, names = docstrings()
    return _tokenized(texts, np.array(labels), names, config)


def _text(rest: str, config: DataConfig, classification: bool) -> Parts:
    path = Path(rest)
    try:
        texts, labels = _read_folder(path) if path.is_dir() else _read_table(path)
    except FileNotFoundError:
        raise InputError(f"text:{rest}: no such file or folder") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"text:{rest}: expected UTF-8, a CSV or TSV file with columns text and label or a "
            f"folder of .txt files ({error})"
        ) from None
    if not texts:
        raise InputError(f"text:{rest}: no texts in it")
    if classification:
        names = sorted(set(labels))
        numbers = {name: i for i, name in enumerate(names)}
        return _tokenized(texts, np.array([numbers[label] for label in labels]), names, config)
    try:
        return _tokenized(texts, np.array([float(label) for label in labels]), None, config)
    except ValueError as error:
        raise InputError(f"text:{rest}: expected numbers in column label: {error}") from None


def _read_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Read one file a class, one text a line."""
    texts, labels = [], []
    for path in sorted(folder.glob("*.txt")):
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        texts += lines
        labels += [path.stem] * len(lines)
    return texts, labels


def _read_table(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        table = csv.DictReader(file, delimiter=delimiter, strict=True)
        if not {"text", "label"} <= set(table.fieldnames or ()):
            raise InputError(
                f"text:{path}: expected columns text and label, got {table.fieldnames or 'nothing'}"
            )
        rows = [(row["text"], row["label"]) for row in table]
    short = next((i for i, row in enumerate(rows) if None in row), None)
    if short is not None:
        raise InputError(f"text:{path}: row {short + 2} has too few columns")
    return [text for text, _ in rows], [label for _, label in rows]


def _tokenized(
    texts: Sequence[str], targets: Array, names: Sequence[str] | None, config: DataConfig
) -> Parts:
    ids = tokenize(texts, config.vocabulary, config.length)
    return Parts({"train": (ids, targets)}, names, TOKENIZER)


SOURCES: dict[str, Source] = {
    "docstrings": _docstrings,
    "text": _text,
    "npz": npz_source(("ids", "mask", "y"), optional=("mask",)),
    "python": python_source("ids", most_arrays=3),
}


def token_dataset(parts: Parts, config: DataConfig, seed: int, classification: bool) -> Dataset:
    """Check and split token ids n x t and masks n x t.

    Raises:
        InputError: ids that are no whole numbers below `config.vocabulary`, a mask of another
            shape or of other values than 0 and 1, a text without tokens or with padding first,
            or bad targets.
    """

    def checked(arrays: tuple[Array, ...]) -> Split:
        ids = _check_ids(np.asarray(arrays[0]), config)
        given = np.asarray(arrays[1]) if len(arrays) == 3 else ids != PADDING
        return Split(
            (ids, _check_mask(given, ids, config.source)),
            check_targets(arrays[-1], len(ids), "texts", config.source, classification),
        )

    samples = Samples({key: checked(part) for key, part in parts.arrays.items()}, parts.class_names)
    return split_dataset(
        samples,
        config,
        seed,
        modality="tokens",
        classification=classification,
        vocabulary=config.vocabulary,
        tokenizer=parts.tokenizer,
    )


def _check_ids(ids: Array, config: DataConfig) -> Array:
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or 0 in ids.shape:
        raise InputError(
            f"{config.source}: expected ids as whole numbers n x length, "
            f"got {ids.shape} {ids.dtype}"
        )
    if ids.min() < 0:
        raise InputError(f"{config.source}: ids must count from 0, got {ids.min()}")
    if ids.max() >= config.vocabulary:
        raise InputError(
            f"{config.source}: expected ids below data.vocabulary, which is {config.vocabulary}, "
            f"got {ids.max()}; set data.vocabulary to the size of yours"
        )
    return ids.astype(np.int32)


def _check_mask(mask: Array, ids: Array, source: str) -> Array:
    if mask.shape != ids.shape:
        raise InputError(
            f"{source}: expected a mask of the ids' shape {ids.shape}, got {mask.shape}"
        )
    if mask.dtype.kind not in "iufb" or not np.isin(mask, (0, 1)).all():
        other = mask[~np.isin(mask, (0, 1))] if mask.dtype.kind in "iufb" else mask
        raise InputError(f"{source}: expected a mask of 0 and 1, got {other.flat[0]!s}")
    empty = np.flatnonzero(~mask.astype(np.bool_).any(axis=1))
    if len(empty):
        raise InputError(f"{source}: text {empty[0]} has no token (its mask is 0 throughout)")
    padded = np.flatnonzero(~mask[:, 0].astype(np.bool_))
    if len(padded):
        raise InputError(f"{source}: text {padded[0]} begins with padding; pad at the end")
    return mask.astype(np.uint8)


def long_tokens(_: Dataset, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return ids and masks n x t int64."""
    return tuple(one.long() for one in inputs)

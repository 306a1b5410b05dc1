"""Data sets of every modality: read, checked, split, and turned into what networks take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.config import DataConfig, TrainingConfig
from nas.data import images, sequences, tokens
from nas.data.dataset import NOUNS, Dataset, Split, as_tensor
from nas.data.generated import generated_data
from nas.data.sources import Parts, Source
from search_spaces import InputError, unknown_name

Inputs = tuple[Tensor, ...]


def _unchanged(inputs: Inputs, _: TrainingConfig, __: torch.Generator) -> Inputs:
    return inputs


def _augmented_images(inputs: Inputs, config: TrainingConfig, generator: torch.Generator) -> Inputs:
    return (images.augment_images(inputs[0], config, generator),)


@dataclass(frozen=True)
class Modality:
    """One kind of input: where it comes from and what becomes of it."""

    sources: Mapping[str, Source]
    dataset: Callable[[Parts, DataConfig, int, bool], Dataset]
    normalised: Callable[[Dataset, Inputs], Inputs]
    augment: Callable[[Inputs, TrainingConfig, torch.Generator], Inputs]


MODALITIES: dict[str, Modality] = {
    "image": Modality(
        images.SOURCES, images.image_dataset, images.normalised_images, _augmented_images
    ),
    "tokens": Modality(tokens.SOURCES, tokens.token_dataset, tokens.long_tokens, _unchanged),
    "sequence": Modality(
        sequences.SOURCES, sequences.sequence_dataset, sequences.normalised_sequences, _unchanged
    ),
}
WITHOUT_PLACE = ("digits", "docstrings")
WITH_PATH = ("npz", "npy", "text", "parquet", "folder")
FORMS = {
    "digits": "digits",
    "docstrings": "docstrings",
    "npz": "npz:PATH",
    "npy": "npy:DIR",
    "text": "text:PATH",
    "parquet": "parquet:PATH",
    "folder": "folder:PATH",
    "hub": "hub:NAME",
    "python": "python:package.module:function",
}


def is_there(source: str) -> bool:
    """Tell whether data can be loaded without a network, from what the name says."""
    kind, _, rest = source.partition(":")
    return kind != "hub" and (kind not in WITH_PATH or Path(rest).exists())


def load_data(
    config: DataConfig,
    seed: int,
    modality: str = "image",
    *,
    classification: bool = True,
    space: str = "the space",
) -> Dataset:
    """Load, check and split a data set.

    Sources of images: `digits` (embedded: scikit-learn's handwritten digits), `npz:PATH` (`x`
    uint8 NHW or NHWC, `y`), `npy:DIR` (train_x.npy and train_y.npy of the same forms, perhaps also
    of validation and test; the x stay on disk), `parquet:PATH`, `folder:PATH` and `hub:NAME`
    (Hugging Face `datasets`, columns `image` and `label`). Of sequences: the same images of one
    channel but for npy, whose columns are frames, and `npz:PATH` (`x` n x features x frames, `y`).
    Of tokens: `docstrings` (embedded: of installed libraries), `text:PATH` (a CSV or TSV with
    columns text and label, or a folder of one .txt a class), `npz:PATH` (`ids` n x t, `mask` n x t
    of 0 and 1, `y`). Of all: `python:package.module:function` (returns one data set, or a mapping
    with `train` and perhaps `validation` and `test`; each a tuple of arrays or a sequence of
    (sample, label)).

    Args:
        modality: "image", "tokens" or "sequence".
        classification: targets are class numbers; otherwise they may be fractions (n or n x k,
            made n x k) or whole numbers of more dimensions.
        space: what is to be trained, for messages.

    Raises:
        InputError: an unknown source, one of another modality, or data with one class, a wrong
            shape, NaN, or fewer samples than classes.
        MissingExtraError: Hugging Face `datasets` is needed and absent.
    """
    kind, _, rest = config.source.partition(":")
    known = MODALITIES[modality]
    if kind not in known.sources:
        raise _no_such_source(kind, modality, space)
    if kind not in WITHOUT_PLACE and not rest:
        raise InputError(f"expected a place after {kind}:, got {config.source!r}")
    parts = known.sources[kind](rest, config, classification)
    return known.dataset(parts, config, seed, classification)


def _no_such_source(kind: str, modality: str, space: str) -> InputError:
    forms = ", ".join(FORMS[name] for name in MODALITIES[modality].sources)
    others = [
        NOUNS[name] if name != "tokens" else "tokens"
        for name in MODALITIES
        if kind in MODALITIES[name].sources
    ]
    if others:
        taken = "tokens" if modality == "tokens" else NOUNS[modality]
        return InputError(
            f"{space} takes {taken}; {kind} gives {' or '.join(others)} (sources of {taken}: "
            f"{forms})"
        )
    return InputError(
        f"{unknown_name('data set', kind, MODALITIES[modality].sources)} (forms: {forms})"
    )


def input_tensors(data: Dataset, split: Split, index: np.ndarray | slice = slice(None)) -> Inputs:
    """Return the inputs at `index` as the network takes them: normalised, without augmentation."""
    return normalised(data, tuple(as_tensor(one[index]) for one in split.inputs))


def normalised(data: Dataset, inputs: Inputs) -> Inputs:
    """Return inputs that are as the data holds them as the network takes them."""
    return MODALITIES[data.modality].normalised(data, inputs)


def augment(
    data: Dataset, inputs: Inputs, config: TrainingConfig, generator: torch.Generator
) -> Inputs:
    """Return training inputs, changed at random where their modality knows how."""
    return MODALITIES[data.modality].augment(inputs, config, generator)


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


__all__ = [
    "MODALITIES",
    "Dataset",
    "Inputs",
    "Split",
    "as_tensor",
    "augment",
    "check_augmentation",
    "generated_data",
    "input_tensors",
    "is_there",
    "load_data",
    "normalised",
]

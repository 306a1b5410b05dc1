"""All families by name, and how one is built for a data set."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

from search_spaces.bert import bert_base, bert_mini, bert_small, bert_tiny
from search_spaces.conversion.space_file import read_space
from search_spaces.errors import InputError, unknown_name
from search_spaces.mobilenet import (
    mobilenet_cifar,
    mobilenet_digits,
    mobilenet_v3,
    mobilenet_v3_w12,
)
from search_spaces.nasbench201 import nasbench201, nasbench201_digits
from search_spaces.nasbench_macro import nasbench_macro, nasbench_macro_digits
from search_spaces.nasnet import nasnet_cifar, nasnet_darts, nasnet_digits
from search_spaces.python_name import call, is_python_name, python_function
from search_spaces.resnet import resnet_50d, resnet_cifar, resnet_cifar_small, resnet_digits
from search_spaces.space import Modality, SearchSpace
from search_spaces.tdnn import tdnn, tdnn_digits
from search_spaces.vit import vit_base, vit_cifar, vit_digits, vit_small, vit_tiny

FILE_PREFIX = "file:"
INPUT_SIZES = ("length", "frames")
"""Settings of builders on which the cost of every layer depends, not only of the first and last."""

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "mobilenet-digits": mobilenet_digits,
    "mobilenet-cifar": mobilenet_cifar,
    "mobilenet-v3": mobilenet_v3,
    "mobilenet-v3-w1.2": mobilenet_v3_w12,
    "resnet-digits": resnet_digits,
    "resnet-cifar": resnet_cifar,
    "resnet-cifar-small": resnet_cifar_small,
    "resnet-50d": resnet_50d,
    "vit-digits": vit_digits,
    "vit-cifar": vit_cifar,
    "vit-tiny": vit_tiny,
    "vit-small": vit_small,
    "vit-base": vit_base,
    "bert-mini": bert_mini,
    "bert-tiny": bert_tiny,
    "bert-small": bert_small,
    "bert-base": bert_base,
    "tdnn-digits": tdnn_digits,
    "tdnn": tdnn,
    "nasnet-digits": nasnet_digits,
    "nasnet-cifar": nasnet_cifar,
    "nasnet-darts": nasnet_darts,
    "nasbench201-digits": nasbench201_digits,
    "nasbench201": nasbench201,
    "nasbench-macro-digits": nasbench_macro_digits,
    "nasbench-macro": nasbench_macro,
}
"""The catalogue: name -> builder, whose settings follow from the data (images: num_classes,
input_channels; tokens: num_classes, vocabulary, length; sequences: num_classes, num_features,
frames).
"""


TYPICAL = {
    "num_classes": 10,
    "input_channels": 3,
    "vocabulary": 4096,
    "length": 32,
    "num_features": 8,
    "frames": 32,
}
"""Settings that a user's builder is called with before there is data, where it has no defaults."""


def is_file_name(name: str) -> bool:
    """Tell whether a name is of a folder that `nas elasticize` wrote."""
    return name.startswith(FILE_PREFIX)


def build_space(name: str, /, **settings: int) -> SearchSpace:
    """Build a space of the catalogue, of the user's own function (`python:module:function`), or of
    a network that was made elastic (`file:FOLDER`).

    Args:
        settings: of the builder; its defaults without, or typical values where it has none.

    Raises:
        InputError: an unknown name (the nearest valid one is named), settings that the builder
            does not take or lacks, a function that raises or returns no space with layers, or a
            folder that is absent, damaged or of other settings.
    """
    if is_file_name(name):
        return read_space(Path(name.removeprefix(FILE_PREFIX)), settings)
    if not is_python_name(name):
        if name not in SPACES:
            raise unknown_name("space", name, SPACES)
        return SPACES[name](**_checked_settings(name, SPACES[name], settings))
    builder = python_function(name)
    space = call(name, builder, **_checked_settings(name, builder, settings))
    if not isinstance(space, SearchSpace):
        got = type(space).__name__
        raise InputError(f"{name}: expected a function that returns a SearchSpace, got {got}")
    if not space.slots:
        raise InputError(f"{name}: expected a SearchSpace with layers (slots), got none")
    return space


def _checked_settings(
    name: str, builder: Callable[..., SearchSpace], settings: Mapping[str, int]
) -> Mapping[str, int]:
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected a function of settings, as num_classes") from None
    kinds = {parameter.kind for parameter in parameters.values()}
    variable = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    expected = [key for key, one in parameters.items() if one.kind not in variable]
    if not set(settings) <= set(expected) and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise InputError(
            f"{name}: expected {' and '.join(expected) or 'no settings'}, got {dict(settings)}"
        )
    needed = [key for key in expected if parameters[key].default is inspect.Parameter.empty]
    given = settings or {key: TYPICAL[key] for key in needed if key in TYPICAL}
    lacking = [key for key in needed if key not in given]
    if lacking:
        raise InputError(
            f"{name}: {' and '.join(lacking)} cannot be told from the data, which gives "
            f"{', '.join(settings or TYPICAL)}; give each a default"
        )
    return given


def space_modality(name: str) -> Modality:
    """Return what the networks of a space take: images, tokens or sequences."""
    return build_space(name).modality

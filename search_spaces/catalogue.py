"""All families by name, and how one is built for a data set."""

import inspect
from collections.abc import Callable

from search_spaces.bert import bert_base, bert_mini, bert_small, bert_tiny
from search_spaces.errors import InputError, unknown_name
from search_spaces.mobilenet import (
    mobilenet_cifar,
    mobilenet_digits,
    mobilenet_v3,
    mobilenet_v3_w12,
)
from search_spaces.nasbench201 import nasbench201, nasbench201_digits
from search_spaces.nasnet import nasnet_cifar, nasnet_darts, nasnet_digits
from search_spaces.python_name import is_python_name, python_function
from search_spaces.resnet import resnet_50d, resnet_cifar, resnet_digits
from search_spaces.space import Modality, SearchSpace
from search_spaces.tdnn import tdnn, tdnn_digits
from search_spaces.vit import vit_base, vit_cifar, vit_digits, vit_small, vit_tiny

INPUT_SIZES = ("length", "frames")
"""Settings of builders on which the cost of every layer depends, not only of the first and last."""

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "mobilenet-digits": mobilenet_digits,
    "mobilenet-cifar": mobilenet_cifar,
    "mobilenet-v3": mobilenet_v3,
    "mobilenet-v3-w1.2": mobilenet_v3_w12,
    "resnet-digits": resnet_digits,
    "resnet-cifar": resnet_cifar,
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
}
"""The catalogue: name -> builder, whose settings follow from the data (images: num_classes,
input_channels; tokens: num_classes, vocabulary, length; sequences: num_classes, num_features,
frames).
"""


def build_space(name: str, /, **settings: int) -> SearchSpace:
    """Build a space of the catalogue, or of the user's own function (`python:module:function`).

    Args:
        settings: of the builder; its defaults without.

    Raises:
        InputError: an unknown name (the nearest valid one is named), settings that the builder
            does not take, or a function that returns no space.
    """
    if is_python_name(name):
        builder = python_function(name)
    elif name in SPACES:
        builder = SPACES[name]
    else:
        raise unknown_name("space", name, SPACES)
    expected = list(inspect.signature(builder).parameters)
    if not set(settings) <= set(expected):
        raise InputError(f"{name}: expected {' and '.join(expected)}, got {settings}")
    space = builder(**settings)
    if not isinstance(space, SearchSpace):
        raise InputError(f"{name}: expected a function that returns a SearchSpace")
    return space


def space_modality(name: str) -> Modality:
    """Return what the networks of a space take: images, tokens or sequences."""
    return build_space(name).modality

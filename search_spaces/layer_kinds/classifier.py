"""Global average pool and linear layers: the ends of image networks."""

from typing import Any

import numpy as np

from search_spaces.layer_kind import (
    IMAGE,
    Fields,
    Kept,
    LayerKind,
    image_elements,
    image_inputs,
    maximum,
)


def _has_hidden(f: Fields) -> Any:
    return np.greater(f["hidden_channels"], 0)


def _classifier_macs(f: Fields) -> Any:
    hidden = f["in_channels"] * f["hidden_channels"] + f["hidden_channels"] * f["num_classes"]
    return np.where(_has_hidden(f), hidden, f["in_channels"] * f["num_classes"])


def _classifier_params(f: Fields) -> Any:
    return _classifier_macs(f) + f["num_classes"]


def _classifier_peak(f: Fields, kept: Kept) -> Any:
    image, held = image_elements(f), kept[0] * image_elements(f)
    pooling = image + f["in_channels"]
    hidden = f["in_channels"] + f["hidden_channels"]
    last = np.where(_has_hidden(f), f["hidden_channels"], f["in_channels"]) + f["num_classes"]
    return maximum(pooling, held + hidden, held + last)


def _num_classes(f: Fields) -> Any:
    return f["num_classes"]


CLASSIFIERS: dict[str, LayerKind] = {
    "classifier": LayerKind(
        {**IMAGE, "hidden_channels": int, "num_classes": int, "activation": str},
        _classifier_macs, _classifier_params, _classifier_peak, image_inputs, _num_classes,
        frozenset({"hidden_channels"}),
    ),
}  # fmt: skip

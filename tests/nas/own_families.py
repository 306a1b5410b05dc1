"""Families, data and tasks as a user brings them: `python:tests.nas.own_families:...`.

Small on purpose, of every modality; their layers are registered when a space is built.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Dimension, LayerSlot, LayerSpec, SearchSpace, TensorSpec, build_space
from search_spaces.layer_kind import Fields, Kept, LayerKind
from search_spaces.registration import register_layer_kind

HERE = f"python:{__name__}"


class Words(nn.Module):
    """Embedded ids, nothing where the mask is 0: ids and mask b x t -> b x (t * width)."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.words = nn.Embedding(spec["vocabulary"], spec["width"])
        self.marks = nn.Embedding(2, spec["width"])
        self.flatten = nn.Flatten()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.flatten(self.words(ids) * self.marks(mask))


class Head(nn.Module):
    """Hidden layer and logits: b x features -> b x classes."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(spec["features"], spec["hidden"])
        self.activation = nn.ReLU()
        self.logits = nn.Linear(spec["hidden"], spec["num_classes"])

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits(self.activation(self.hidden(inputs)))


class Frames(nn.Module):
    """A convolution over time and the mean of all frames: b x features x frames -> b x channels."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        kernel = spec["kernel"]
        self.conv = nn.Conv1d(spec["features"], spec["channels"], kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(spec["channels"])
        self.activation = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.flatten(self.pool(self.activation(self.norm(self.conv(inputs)))))


def _kind(fields: tuple[str, ...], inputs: Any, macs: Any, num_params: Any, out: Any) -> LayerKind:
    def peak(f: Fields, _: Kept) -> Any:
        return num_params(f)

    return LayerKind(dict.fromkeys(fields, int), macs, num_params, peak, inputs, out)


def _hidden_macs(f: Fields) -> Any:
    return (f["features"] + f["num_classes"]) * f["hidden"]


KINDS = {
    "own_words": _kind(
        ("vocabulary", "length", "width"),
        lambda f: (TensorSpec((f["length"],), "int64"), TensorSpec((f["length"],), "int64")),
        lambda f: 0 * f["width"],
        lambda f: (f["vocabulary"] + 2) * f["width"],
        lambda f: f["length"] * f["width"],
    ),
    "own_head": _kind(
        ("features", "hidden", "num_classes"),
        lambda f: (TensorSpec((f["features"],)),),
        _hidden_macs,
        lambda f: _hidden_macs(f) + f["hidden"] + f["num_classes"],
        lambda f: f["num_classes"],
    ),
    "own_frames": _kind(
        ("features", "frames", "channels", "kernel"),
        lambda f: (TensorSpec((f["features"], f["frames"]), free=(1,)),),
        lambda f: f["features"] * f["frames"] * f["channels"] * f["kernel"],
        lambda f: f["channels"] * (f["features"] * f["kernel"] + 3),
        lambda f: f["channels"],
    ),
}


MODULES = {"own_words": Words, "own_head": Head, "own_frames": Frames}


def make_known() -> None:
    """Register the kinds: when a space is built, so that a mere import changes nothing."""
    for name, kind in KINDS.items():
        register_layer_kind(name, kind, MODULES[name])


# --- spaces ---------------------------------------------------------------------------------------


def text_space(num_classes: int = 2, vocabulary: int = 100, length: int = 12) -> SearchSpace:
    """Classes of short texts."""
    make_known()

    def words(v: Mapping[str, Any]) -> dict[str, Any]:
        return {"vocabulary": vocabulary, "length": length, "width": v["width"]}

    def head(v: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "features": length * v["width"],
            "hidden": v["hidden"],
            "num_classes": num_classes,
        }

    return SearchSpace(
        "own-text@1",
        (Dimension("width", (4, 8, 16)), Dimension("hidden", (8, 16, 32, 64, 128))),
        (
            LayerSlot("words", "own_words", ("width",), words, reads=("ids", "mask")),
            LayerSlot("head", "own_head", ("width", "hidden"), head),
        ),
        settings={"num_classes": num_classes, "vocabulary": vocabulary, "length": length},
        modality="tokens",
        inputs=("ids", "mask"),
    )


def sequence_space(num_classes: int = 2, num_features: int = 8, frames: int = 8) -> SearchSpace:
    """Numbers from sequences of any length."""
    make_known()

    def body(v: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "features": num_features,
            "frames": frames,
            "channels": v["channels"],
            "kernel": v["kernel"],
        }

    def head(v: Mapping[str, Any]) -> dict[str, Any]:
        return {"features": v["channels"], "hidden": v["hidden"], "num_classes": num_classes}

    return SearchSpace(
        "own-sequence@1",
        (
            Dimension("channels", (8, 16, 32, 64)),
            Dimension("kernel", (3, 5)),
            Dimension("hidden", (8, 16, 32, 64)),
        ),
        (
            LayerSlot("body", "own_frames", ("channels", "kernel"), body),
            LayerSlot("head", "own_head", ("channels", "hidden"), head),
        ),
        settings={"num_classes": num_classes, "num_features": num_features, "frames": frames},
        modality="sequence",
    )


def two_headed(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    """The digits' space with a second classifier, which is the second output."""
    digits = build_space("mobilenet-digits", num_classes=num_classes, input_channels=input_channels)
    last, before = digits.slots[-1], digits.slots[-2]
    second = LayerSlot("second", last.kind, last.depends_on, last.fields, reads=(before.name,))
    return SearchSpace(
        "own-two-headed@1",
        digits.dimensions,
        (*digits.slots, second),
        settings=digits.settings,
        outputs={"logits": last.name, "parity": "second"},
    )


def map_space(num_classes: int = 2, input_channels: int = 1) -> SearchSpace:
    """The digits' space without its classifier: its output is a map of features."""
    digits = build_space("mobilenet-digits", num_classes=num_classes, input_channels=input_channels)
    return SearchSpace(
        "own-map@1",
        digits.dimensions,
        digits.slots[:-1],
        settings=digits.settings,
        outputs={"map": digits.slots[-2].name},
    )


# --- data -----------------------------------------------------------------------------------------


def slopes() -> tuple[np.ndarray, np.ndarray]:
    """Digits as sequences, and as targets two numbers computed from them, n x 2."""
    from sklearn.datasets import load_digits

    images = load_digits().images[:400]
    columns = np.arange(8) - 3.5
    weights = images.sum(axis=1)
    centre = (weights @ columns) / weights.sum(axis=1)
    return images, np.stack([centre, images.mean(axis=(1, 2)) / 5 - 1], axis=1)


def bright_pixels() -> tuple[np.ndarray, np.ndarray]:
    """Digits, and for every pixel whether it is bright, n x 8 x 8."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:300] * 15).astype(np.uint8)
    return images, (images > 100).astype(np.int64)


def masked_texts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, masks and classes: which of two words is among others."""
    rng = np.random.default_rng(0)
    ids = rng.integers(10, 50, (240, 12))
    labels = np.arange(240) % 2
    ids[np.arange(240), rng.integers(0, 4, 240)] = 5 + labels
    mask = np.arange(12)[None] < rng.integers(4, 13, 240)[:, None]
    return ids, mask, labels


# --- tasks ----------------------------------------------------------------------------------------


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets)


def r2(outputs: Tensor, targets: Tensor) -> Tensor:
    residual = (outputs - targets).square().sum(dim=0)
    return (1 - residual / (targets - targets.mean(dim=0)).square().sum(dim=0)).mean()


def both_losses(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    digit, parity = outputs
    return F.cross_entropy(digit, targets) + F.cross_entropy(parity, targets % 2)


def both_right(outputs: tuple[Tensor, Tensor], targets: Tensor) -> float:
    digit, parity = outputs
    right = (digit.argmax(1) == targets) & (parity.argmax(1) == targets % 2)
    return float(right.float().mean())


def _at_pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.interpolate(outputs[:, :2], size=targets.shape[1:], mode="bilinear")


def pixel_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(_at_pixels(outputs, targets), targets)


def pixel_distance(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Widths and resolutions differ, so only the maps that are used are compared, at one size."""
    return F.mse_loss(_at_pixels(outputs, teacher[:, 0]), teacher[:, :2])


def pixel_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (_at_pixels(outputs, targets).argmax(dim=1) == targets).float().mean()


def raising(outputs: Tensor, targets: Tensor) -> Tensor:
    raise RuntimeError("mine\nand more")


def one_each(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def a_word(outputs: Tensor, targets: Tensor) -> str:
    return "good"


def not_a_number(outputs: Tensor, targets: Tensor) -> float:
    return math.nan


def forgetful(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.zeros(())


def a_constant(outputs: Tensor, targets: Tensor) -> float:
    return 1.0


def share_of_class_1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Infinite where nothing is of class 1."""
    return len(targets) / (targets == 1).sum()

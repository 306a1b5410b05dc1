"""What is refused before a run's folder is written: spaces, data and tasks that do not fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import nas.run_directory
from nas.config import load_recipe
from nas.pipeline import create_run
from search_spaces import Dimension, InputError, LayerSlot, SearchSpace, build_space
from tests.nas import own_families

HERE = f"python:{__name__}"
OWN = own_families.HERE


def no_defaults(num_classes, input_channels) -> SearchSpace:
    return build_space("mobilenet-digits", num_classes=num_classes, input_channels=input_channels)


def two_images(num_classes: int = 10, input_channels: int = 1) -> SearchSpace:
    digits = no_defaults(num_classes, input_channels)
    inputs = ("left", "right")
    return SearchSpace("mine@1", digits.dimensions, digits.slots, inputs=inputs)


def _head(features: int, classes: int, **fields: int) -> SearchSpace:
    own_families.make_known()

    def head(values: Mapping[str, Any]) -> dict[str, Any]:
        known = {"features": features, "hidden": values["hidden"], "num_classes": classes}
        return known | fields

    def body(values: Mapping[str, Any]) -> dict[str, Any]:
        return {"features": 8, "frames": 8, "channels": 8, "kernel": 3}

    slots = (
        LayerSlot("body", "own_frames", (), body),
        LayerSlot("head", "own_head", ("hidden",), head),
    )
    return SearchSpace("mine@1", (Dimension("hidden", (8, 16)),), slots, modality="sequence")


def bad_spec(num_classes: int = 10, num_features: int = 8, frames: int = 8) -> SearchSpace:
    return _head(8, num_classes, width=3)


def bad_layers(num_classes: int = 10, num_features: int = 8, frames: int = 8) -> SearchSpace:
    return _head(9, num_classes)


def few_classes(num_classes: int = 10, num_features: int = 8, frames: int = 8) -> SearchSpace:
    return _head(8, 4)


def raising_later(num_classes: int = 10, num_features: int = 8, frames: int = 8) -> SearchSpace:
    slot = LayerSlot("head", "own_head", (), lambda values: {"features": values["absent"]})
    return SearchSpace("mine@1", (), (slot,), modality="sequence")


MAPS = (
    f"space.name={OWN}:map_space",
    f"data.source={OWN}:bright_pixels",
    f"task.metric={OWN}:pixel_accuracy",
)
REFUSED = {
    "two images": ((f"space.name={HERE}:two_images",), "left, right.* images give 1"),
    "a spec of other fields": ((f"space.name={HERE}:bad_spec",), "own_head: expected fields"),
    "a slot that raises": ((f"space.name={HERE}:raising_later",), "KeyError: 'absent'"),
    "layers that do not fit": ((f"space.name={HERE}:bad_layers",), "smallest.*shapes"),
    "too few classes": ((f"space.name={HERE}:few_classes",), r"x 10.* got \(8, 4\)"),
    "moved targets": ((*MAPS, f"task.loss={OWN}:pixel_loss"), "augmentation would move"),
    "a loss that raises": (
        (f"space.name={OWN}:two_headed", f"task.loss={OWN}:raising", f"task.metric={OWN}:r2"),
        "raised RuntimeError: mine",
    ),
    "absent weights": (("training.weights=/no/such.safetensors",), "no/such"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, case):
    overrides, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        create_run(tmp_path / "run", load_recipe(None, overrides))
    assert len(str(error.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_a_builder_without_defaults_makes_a_run(tmp_path):
    run = create_run(tmp_path / "run", load_recipe(None, [f"space.name={HERE}:no_defaults"]))
    assert run.space.settings == {"num_classes": 10, "input_channels": 1}


def test_the_data_of_a_new_run_are_loaded_once(tmp_path, monkeypatch):
    loaded = []
    load = nas.run_directory.load_data
    monkeypatch.setattr(
        nas.run_directory, "load_data", lambda *a, **k: loaded.append(a) or load(*a, **k)
    )
    run = create_run(tmp_path / "run", load_recipe(None))
    assert run.data.sha256() == run.data_sha256
    assert len(loaded) == 1
    np.testing.assert_array_equal(
        nas.run_directory.open_run(tmp_path / "run").data.test.targets, run.data.test.targets
    )

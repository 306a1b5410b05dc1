import re

import numpy as np
import pytest
import torch

from nas.config import DataConfig
from nas.data import Dataset, input_tensors, load_data
from search_spaces import InputError


def load(source: str, seed: int = 0, classification: bool = True) -> Dataset:
    return load_data(DataConfig(source=source), seed, "sequence", classification=classification)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return f"npz:{tmp_path / 'data.npz'}"

    return write


WAVES = np.random.default_rng(0).normal(5, [[1], [2], [100]], (60, 3, 20))
LABELS = np.arange(60) % 3


def test_digits_are_read_column_by_column():
    data = load("digits")
    images = load_data(DataConfig(source="digits"), 0)
    assert data.settings == {"num_classes": 10, "num_features": 8, "frames": 8}
    np.testing.assert_array_equal(data.test.inputs[0], images.test.inputs[0][:, 0])
    np.testing.assert_array_equal(data.test.targets, images.test.targets)


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int16, np.uint8])
def test_sequences_of_any_number_type_are_normalised_by_feature(npz, kind):
    waves = np.abs(WAVES).clip(0, 200).astype(kind)
    data = load(npz(x=waves, y=LABELS))
    assert data.settings == {"num_classes": 3, "num_features": 3, "frames": 20}
    (train,) = input_tensors(data, data.train)
    assert (train.dtype, train.shape[1:]) == (torch.float32, (3, 20))
    torch.testing.assert_close(train.mean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(train.std((0, 2), unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    (test,) = input_tensors(data, data.test)
    assert not torch.allclose(test.mean((0, 2)), torch.zeros(3), atol=1e-6), "of training only"


def test_a_feature_that_never_changes_is_only_shifted(npz):
    waves = WAVES.copy()
    waves[:, 1] = 7.3
    data = load(npz(x=waves, y=LABELS))
    assert data.std[1] == 1.0
    (train,) = input_tensors(data, data.train)
    assert float(train[:, 1].abs().max()) < 1e-5


BAD = {
    "NaN": ({"x": np.where(WAVES > 8, np.nan, WAVES), "y": LABELS}, "NaN"),
    "beyond float32": ({"x": WAVES * 1e300, "y": LABELS}, "too great"),
    "words": ({"x": WAVES.astype(str), "y": LABELS}, "numbers"),
    "complex numbers": ({"x": WAVES * 1j, "y": LABELS}, "numbers"),
    "one dimension": ({"x": WAVES[:, 0, 0], "y": LABELS}, "n x features x frames"),
    "colours": ({"x": np.zeros((60, 8, 8, 3), np.uint8), "y": LABELS}, "n x features x frames"),
    "no frames": ({"x": WAVES[:, :, :0], "y": LABELS}, "n x features x frames"),
    "fewer labels": ({"x": WAVES, "y": LABELS[:50]}, "60 sequences"),
    "one class": ({"x": WAVES, "y": LABELS * 0}, "at least 2 classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sequences_are_refused_in_one_line(npz, case):
    arrays, words = BAD[case]
    with pytest.raises(InputError, match=re.escape(words)) as error:
        load(npz(**arrays))
    assert "data.npz" in str(error.value)
    assert "\n" not in str(error.value)


# --- targets that are no classes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "outputs", "kind"),
    [
        (np.linspace(-1, 1, 60), 1, np.float32),
        (np.linspace(-1, 1, 180).reshape(60, 3), 3, np.float32),
        (np.arange(60) % 4, 4, np.int64),
        (np.arange(1200).reshape(60, 20) % 5, 5, np.int64),
    ],
)
def test_targets_of_other_tasks(npz, targets, outputs, kind):
    source = npz(x=WAVES, y=targets)
    data = load(source, classification=False)
    assert data.num_classes == outputs
    assert data.train.targets.dtype == kind
    columns = (1,) if kind == np.float32 and targets.ndim == 1 else targets.shape[1:]
    assert data.train.targets.shape[1:] == columns
    assert bool(data.class_names) is (kind == np.int64)
    assert data.num_samples == {"train": 36, "validation": 12, "test": 12}
    rows = [tuple(wave.ravel()) for wave in WAVES.astype(np.float32)]
    for wave, target in zip(data.test.inputs[0], data.test.targets, strict=True):
        np.testing.assert_allclose(target, targets[rows.index(tuple(wave.ravel()))], rtol=1e-6)
    if targets.ndim > 1 or kind == np.float32:
        with pytest.raises(InputError, match=r"task\.loss"):
            load(source)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (np.full(60, np.nan), "NaN"),
        (np.full(60, 1e300), "too great"),
        (np.zeros((60, 2, 2)), "n x k"),
        (np.zeros(50), "(50,)"),
        (np.zeros((60, 0)), "(60, 0)"),
        (np.full(60, "a"), "numbers"),
    ],
)
def test_bad_targets_are_refused(npz, targets, words):
    with pytest.raises(InputError, match=re.escape(words)):
        load(npz(x=WAVES, y=targets), classification=False)


def test_too_few_samples_are_refused(npz):
    with pytest.raises(InputError, match="2 or more validation and test"):
        load(npz(x=WAVES[:4], y=np.linspace(0, 1, 4)), classification=False)


def test_the_hash_follows_targets_and_their_columns(npz):
    targets = np.linspace(0, 1, 60)
    first = load(npz(x=WAVES, y=targets), classification=False).sha256()
    assert load(npz(x=WAVES, y=targets[:, None]), classification=False).sha256() == first
    assert (
        load(npz(x=WAVES, y=targets.reshape(60, 1).repeat(2, 1)), classification=False).sha256()
        != first
    )
    assert load(npz(x=WAVES, y=targets + 1), classification=False).sha256() != first
    assert load(npz(x=WAVES, y=targets), classification=False).sha256() == first

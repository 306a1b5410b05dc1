import importlib.util
import io
import json

import numpy as np
import pytest
import torch

from nas.config import DataConfig, load_recipe
from nas.data import Dataset, load_data
from search_spaces import InputError, MissingExtraError
from tests.nas.command_line import python

HAS_DATASETS = importlib.util.find_spec("datasets") is not None
needs_datasets = pytest.mark.skipif(
    not HAS_DATASETS, reason="Hugging Face datasets is absent; pip install datasets pillow"
)


def load(source: str, seed: int = 0, **config: float) -> Dataset:
    return load_data(DataConfig(source=source, **config), seed)


def rows(split) -> list[bytes]:
    """Every image with its label as bytes, to compare sets of them."""
    return [
        image.tobytes() + bytes([int(label)])
        for image, label in zip(split.inputs[0], split.targets, strict=True)
    ]


def pictures(n: int = 60, channels: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random images, n x 8 x 6 (x channels), and labels in turn."""
    rng = np.random.default_rng(7)
    shape = (n, 8, 6, channels) if channels else (n, 8, 6)
    return rng.integers(0, 256, shape, dtype=np.uint8), np.arange(n) % classes


@pytest.fixture
def npz(tmp_path):
    """Writes arrays and returns the source that names them."""

    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return f"npz:{path}"

    return write


# --- digits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_have_ten_classes_and_1797_images_of_8_x_8(digits):
    assert digits.num_classes == 10
    assert digits.settings["input_channels"] == 1
    assert digits.class_names == tuple("0123456789")
    splits = digits.train, digits.validation, digits.test
    assert sum(len(split) for split in splits) == 1797
    for split in splits:
        assert split.inputs[0].dtype == np.uint8
        assert split.inputs[0].shape[1:] == (1, 8, 8)
        assert split.targets.dtype == np.int64
        assert len(split.targets) == len(split.inputs[0])
    assert digits.train.inputs[0].min() == 0
    assert digits.train.inputs[0].max() == 255


def test_splits_have_the_shares_asked_for(digits):
    assert len(digits.validation) == pytest.approx(0.2 * 1797, abs=10)
    assert len(digits.test) == pytest.approx(0.2 * 1797, abs=10)
    other = load("digits", validation_share=0.1, test_share=0.3)
    assert len(other.validation) == pytest.approx(0.1 * 1797, abs=10)
    assert len(other.test) == pytest.approx(0.3 * 1797, abs=10)


def test_splits_hold_every_image_once():
    """By the image's bytes; digits hold a few equal images, so these are all different."""
    images, labels = pictures(90)
    images[:, 0, 0] = np.arange(90)
    data = python_source(lambda: (images, labels))
    found = [rows(split) for split in (data.train, data.validation, data.test)]
    together = [row for part in found for row in part]
    assert len(set(together)) == len(together) == 90
    assert {row[0] for row in together} == set(range(90))


def test_splits_are_stratified(digits):
    whole = np.bincount(
        np.concatenate([s.targets for s in (digits.train, digits.validation, digits.test)])
    )
    for split, share in ((digits.train, 0.6), (digits.validation, 0.2), (digits.test, 0.2)):
        np.testing.assert_allclose(np.bincount(split.targets), share * whole, atol=1.5)


def test_labels_are_not_sorted(digits):
    for split in (digits.train, digits.validation, digits.test):
        assert (np.diff(split.targets) < 0).mean() > 0.2


def test_splits_follow_the_seed(digits):
    again, other = load("digits"), load("digits", seed=1)
    for name in ("train", "validation", "test"):
        first, same, different = (getattr(data, name) for data in (digits, again, other))
        assert rows(first) == rows(same)
        assert rows(first) != rows(different)
    assert digits.sha256() == again.sha256() != other.sha256()


def test_mean_and_spread_are_those_of_the_training_images(digits):
    images = digits.train.inputs[0].astype(np.float64) / 255
    assert digits.mean == pytest.approx((images.mean(),))
    assert digits.std == pytest.approx((images.std(),))


# --- fewer samples --------------------------------------------------------------------------------


def test_fewer_training_samples_leave_validation_and_test_as_they_were(digits):
    few = load("digits", max_samples=105)
    assert len(few.train) == 105
    counts = np.bincount(few.train.targets)
    assert counts.min() >= 10
    assert counts.max() <= 11
    assert set(rows(few.train)) < set(rows(digits.train))
    assert rows(few.validation) == rows(digits.validation)
    assert rows(few.test) == rows(digits.test)
    assert (np.diff(few.train.targets) < 0).any()  # not sorted by class
    images = few.train.inputs[0].astype(np.float64) / 255
    assert few.mean == pytest.approx([images.mean()])
    assert few.sha256() != digits.sha256()
    assert few.num_samples["train"] == 105


def test_which_samples_are_kept_follows_the_seed():
    first, again, other = (load("digits", seed, max_samples=50) for seed in (0, 0, 1))
    assert rows(first.train) == rows(again.train)
    assert set(rows(first.train)) != set(rows(other.train))


def test_as_many_samples_as_there_are_change_nothing(digits):
    for most in (0, len(digits.train), 10**9):
        assert load("digits", max_samples=most).sha256() == digits.sha256()


def test_rare_classes_keep_their_share_and_at_least_one(npz):
    images, _ = pictures(400)
    labels = np.array([0] * 300 + [1] * 95 + [2] * 5)
    data = load(npz(x=images, y=labels), max_samples=40)
    counts = np.bincount(data.train.targets)
    assert counts.sum() == 40
    assert np.abs(counts - 40 * np.array([300, 95, 5]) / 400).max() <= 1
    assert counts.min() == 1
    least = load(npz(x=images, y=labels), max_samples=3)
    assert sorted(least.train.targets) == [0, 1, 2]


def test_targets_that_are_no_classes_are_drawn_at_random(npz):
    images, _ = pictures(60)
    source = npz(x=images, y=np.linspace(0, 1, 60))
    data = load_data(DataConfig(source=source, max_samples=7), 0, classification=False)
    assert (len(data.train), len(data.validation), len(data.test)) == (7, 12, 12)
    with pytest.raises(InputError, match=r"data\.max_samples of at least 2, or 0 .*got 1"):
        load_data(DataConfig(source=source, max_samples=1), 0, classification=False)


@pytest.mark.parametrize("most", [1, 9])
def test_fewer_samples_than_classes_are_refused(most):
    with pytest.raises(InputError) as error:
        load("digits", max_samples=most)
    assert str(error.value) == (
        "digits: expected data.max_samples of at least 10, one of each class, or 0 for all "
        f"training images, got {most}"
    )


@pytest.mark.parametrize("value", ["-1", "1.5", "few", "nan"])
def test_samples_that_are_no_count_are_refused(value):
    with pytest.raises(InputError, match=r"data\.max_samples"):
        load_recipe(None, [f"data.max_samples={value}"])


# --- npz ------------------------------------------------------------------------------------------


def test_grey_images(npz):
    images, labels = pictures()
    data = load(npz(x=images, y=labels))
    assert data.train.inputs[0].shape[1:] == (1, 8, 6)
    assert (data.num_classes, data.class_names) == (3, ("0", "1", "2"))
    assert sum(map(len, (data.train, data.validation, data.test))) == 60


def test_colour_images_put_channels_first(npz):
    images, labels = pictures(channels=3)
    data = load(npz(x=images, y=labels))
    assert data.settings["input_channels"] == 3
    assert len(data.mean) == len(data.std) == 3
    wanted = {image.transpose(2, 0, 1).tobytes() for image in images}
    assert {image.tobytes() for image in data.test.inputs[0]} <= wanted


def test_labels_stay_with_their_images(npz):
    images, labels = pictures()
    images[:, 0, 0] = labels
    data = load(npz(x=images, y=labels))
    for split in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(split.inputs[0][:, 0, 0, 0], split.targets)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64])
def test_labels_of_any_whole_number_type(npz, kind):
    images, labels = pictures()
    assert load(npz(x=images, y=labels.astype(kind))).num_classes == 3


IMAGES, LABELS = pictures()
WITH_NAN = np.where(np.arange(60)[:, None, None] == 5, np.nan, IMAGES)
BAD_ARRAYS = {
    "fractions": ({"x": IMAGES / 255, "y": LABELS}, "uint8"),
    "whole numbers of another type": ({"x": IMAGES.astype(np.int32), "y": LABELS}, "uint8"),
    "NaN": ({"x": WITH_NAN, "y": LABELS}, "NaN"),
    "infinity": ({"x": np.where(np.isnan(WITH_NAN), np.inf, WITH_NAN), "y": LABELS}, "infinite"),
    "one class": ({"x": IMAGES, "y": LABELS * 0}, "at least 2 classes"),
    "a class without samples": ({"x": IMAGES, "y": LABELS * 2}, "class 1 has 0 samples"),
    "a class of one sample": ({"x": IMAGES[:46], "y": [0, 1, 2] * 15 + [3]}, "class 3 has 1 "),
    "fewer samples than classes": ({"x": IMAGES[:4], "y": [0, 3, 6, 9]}, "fewer than 10 classes"),
    "no images": ({"x": IMAGES[:0], "y": LABELS[:0]}, "(0, 8, 6, 1)"),
    "rows instead of images": ({"x": IMAGES.reshape(60, -1), "y": LABELS}, "(60, 48)"),
    "two channels": ({"x": np.zeros((60, 8, 8, 2), np.uint8), "y": LABELS}, "(60, 8, 8, 2)"),
    "channels first": ({"x": np.zeros((60, 3, 8, 8), np.uint8), "y": LABELS}, "(60, 3, 8, 8)"),
    "fewer labels than images": ({"x": IMAGES, "y": LABELS[:50]}, "(50,)"),
    "labels of two dimensions": ({"x": IMAGES, "y": LABELS[:, None]}, "(60, 1)"),
    "words as labels": ({"x": IMAGES, "y": LABELS.astype(str)}, "whole-number"),
    "fractions as labels": ({"x": IMAGES, "y": LABELS / 2}, "whole-number"),
    "negative labels": ({"x": IMAGES, "y": LABELS - 1}, "from 0"),
    "a label of 13 digits": ({"x": IMAGES, "y": np.r_[LABELS[:-1], 10**12]}, "classes"),
    "a label beyond 63 bits": (
        {"x": IMAGES, "y": np.r_[LABELS[:-1].astype(np.uint64), np.uint64(2**63 + 5)]},
        "data.npz",
    ),
    "no labels": ({"x": IMAGES}, "x and y"),
    "no images array": ({"images": IMAGES, "y": LABELS}, "x and y"),
    "pickled objects": (
        {"x": np.array([IMAGES[0], None], dtype=object), "y": LABELS},
        "arrays of numbers",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused(npz, case):
    arrays, words = BAD_ARRAYS[case]
    source = npz(**arrays)
    with pytest.raises(InputError) as error:
        load(source)
    assert words in str(error.value)
    assert "data.npz" in str(error.value)


def test_pickled_objects_are_not_run(npz, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    source = npz(x=np.array([Trap()] * 60, dtype=object), y=LABELS)
    with pytest.raises(InputError):
        load(source)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty", "text", "array", "folder"])
def test_files_that_are_no_npz_are_refused(npz, tmp_path, damage):
    source = npz(x=IMAGES, y=LABELS)
    path = tmp_path / "data.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "edited":
        content[500] ^= 255
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("x = 1, y = 2\n")
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(InputError, match=r"data\.npz"):
        load(source)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(f"npz:{tmp_path / 'absent.npz'}")


# --- python ---------------------------------------------------------------------------------------


def python_source(function, seed: int = 0) -> Dataset:
    """Load what `function` returns through `python:module:function`."""
    globals()["returned"] = function
    return load(f"python:{__name__}:returned", seed)


class Pairs(torch.utils.data.Dataset):
    """(image, label), one at a time."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        return self.images[index], int(self.labels[index])


def test_a_function_that_returns_arrays():
    images, labels = pictures(channels=3)
    data = python_source(lambda: (images, labels))
    assert data.settings["input_channels"] == 3
    assert sum(map(len, (data.train, data.validation, data.test))) == 60


def test_a_function_that_returns_splits_keeps_them():
    images, labels = pictures(90)
    parts = {
        "train": (images[:60], labels[:60]),
        "validation": (images[60:75], labels[60:75]),
        "test": (images[75:], labels[75:]),
    }
    data = python_source(lambda: parts)
    for name, (expected, expected_labels) in parts.items():
        split = getattr(data, name)
        np.testing.assert_array_equal(split.inputs[0][:, 0], expected)
        np.testing.assert_array_equal(split.targets, expected_labels)


def test_a_missing_validation_split_is_taken_from_the_training_images():
    images, labels = pictures(90)
    parts = {"train": (images[:60], labels[:60]), "test": (images[60:], labels[60:])}
    data = python_source(lambda: parts)
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 12, 30)
    np.testing.assert_array_equal(data.test.inputs[0][:, 0], images[60:])


@pytest.mark.parametrize("tensors", [False, True])
def test_a_torch_data_set_of_images_and_labels(tensors):
    images, labels = pictures()
    data = python_source(lambda: Pairs(torch.from_numpy(images) if tensors else images, labels))
    assert data.num_classes == 3
    wanted = set(zip((i.tobytes() for i in images), labels.tolist(), strict=True))
    found = zip((i.tobytes() for i in data.test.inputs[0]), data.test.targets.tolist(), strict=True)
    assert set(found) <= wanted


def test_splits_may_be_torch_data_sets():
    images, labels = pictures(90)
    parts = {"train": Pairs(images[:60], labels[:60]), "test": Pairs(images[60:], labels[60:])}
    assert len(python_source(lambda: parts).test) == 30


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: None, "image"),
        (lambda: {"training": pictures()}, "train"),
        (lambda: {"train": pictures(), "extra": pictures()}, "extra"),
        (lambda: [1, 2, 3], "image"),
        (lambda: (pictures()[0], pictures()[1], 3), "image"),
        (lambda: Pairs([np.zeros((8, 8)), np.zeros((9, 9))], [0, 1]), "image"),
        (lambda: (pictures()[0] / 255, pictures()[1]), "uint8"),
    ],
)
def test_functions_that_return_something_else_are_refused(answer, words):
    with pytest.raises(InputError, match=words):
        python_source(answer)


def test_splits_of_different_sizes_are_refused():
    images, labels = pictures()
    parts = {"train": (images, labels), "test": (images[:, :6], labels)}
    with pytest.raises(InputError, match="different sizes"):
        python_source(lambda: parts)


def test_a_training_split_without_some_class_is_refused():
    """One image alone ends in the statistics of one value, a missing class is never learnt."""
    images, labels = pictures()
    parts = {"train": (images[:1], labels[:1]), "test": (images, labels)}
    parts["validation"] = parts["test"]
    with pytest.raises(InputError, match="train"):
        python_source(lambda: parts)


def test_a_validation_split_of_one_image_is_refused():
    """Its two halves, which tell how well a score repeats, need an image each."""
    images, labels = pictures()
    parts = {"train": (images, labels), "validation": (images[:1], labels[:1])}
    with pytest.raises(InputError, match="validation"):
        python_source(lambda: parts)


@pytest.mark.parametrize(
    "source",
    [
        "python:no_such_module_here:load",
        "python:json:no_such_function",
        "python:json",
        "python::load",
        "python:.relative:load",
    ],
)
def test_functions_that_cannot_be_imported_are_refused(source):
    with pytest.raises(InputError, match=r"python:package\.module:function"):
        load(source)


def test_modules_that_do_not_compile_are_refused(tmp_path, monkeypatch):
    (tmp_path / "broken_source.py").write_text("def load(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="broken_source"):
        load("python:broken_source:load")


# --- all sources ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "nearest"), [("difgits", "digits"), ("pyhton:a:b", "python"), ("nzp:x", "npz")]
)
def test_unknown_sources_name_the_nearest(source, nearest):
    with pytest.raises(InputError, match=f"'{nearest}'"):
        load(source)


@pytest.mark.parametrize("source", ["npz", "npz:", "parquet:", "folder", "hub:", "python:"])
def test_sources_without_a_place_are_refused(source):
    with pytest.raises(InputError, match="after"):
        load(source)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2), (0.7, 0.7)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    overrides = [f"data.validation_share={shares[0]}", f"data.test_share={shares[1]}"]
    with pytest.raises(InputError, match="share"):
        load_data(load_recipe(None, overrides).data, 0)


# --- Hugging Face ---------------------------------------------------------------------------------

WITHOUT_DATASETS = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "datasets":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import nas.cli
sys.argv = ["nas", "run", "--out", sys.argv[1], "--set", "data.source=" + sys.argv[2]]
nas.cli.main()
"""


def test_without_the_library_the_error_names_the_extra(tmp_path):
    result = python(WITHOUT_DATASETS, tmp_path / "run", f"parquet:{tmp_path}")
    assert result.returncode == 3
    assert result.stderr.startswith("nas: ")
    assert result.stderr.count("\n") == 1
    assert "pip install datasets pillow" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(HAS_DATASETS, reason="Hugging Face datasets is installed")
@pytest.mark.parametrize("source", ["parquet:somewhere", "folder:somewhere", "hub:somebody/data"])
def test_every_source_of_the_library_names_the_extra(source):
    with pytest.raises(MissingExtraError, match=r"supernet-engine\[data\]"):
        load(source)


def write_parquet(path, images, labels):
    """A file as the library writes it, with class names in its metadata."""
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table({"image": pyarrow.array(cells, kind), "label": np.asarray(labels)})
    label = {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)


@needs_datasets
@pytest.mark.filterwarnings("ignore")
def test_parquet_files(tmp_path, offline):
    images, labels = pictures(90, channels=3)
    write_parquet(tmp_path / "train.parquet", images[:60], labels[:60])
    write_parquet(tmp_path / "test.parquet", images[60:], labels[60:])
    folder = load(f"parquet:{tmp_path}")
    assert folder.class_names == ("ant", "bee", "cat")
    np.testing.assert_array_equal(folder.test.inputs[0], images[60:].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(folder.test.targets, labels[60:])
    assert len(folder.train) + len(folder.validation) == 60
    alone = load(f"parquet:{tmp_path / 'train.parquet'}")
    assert sum(map(len, (alone.train, alone.validation, alone.test))) == 60


@needs_datasets
@pytest.mark.filterwarnings("ignore")
def test_folders_of_images(tmp_path, offline):
    from PIL import Image

    images, labels = pictures(30)
    names = ("ant", "bee", "cat")
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "images" / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    data = load(f"folder:{tmp_path / 'images'}")
    assert data.class_names == names
    wanted = set(zip((i.tobytes() for i in images), labels.tolist(), strict=True))
    found = [
        (image.tobytes(), int(label))
        for split in (data.train, data.validation, data.test)
        for image, label in zip(split.inputs[0], split.targets, strict=True)
    ]
    assert len(found) == 30
    assert set(found) == wanted


@needs_datasets
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_bad_places_of_the_library_are_refused(tmp_path, offline, kind):
    with pytest.raises(InputError, match="no such"):
        load(f"{kind}:{tmp_path / 'absent'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=kind):
        load(f"{kind}:{tmp_path / 'empty'}")


@needs_datasets
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", ["columns", "truncated", "text", "sizes"])
def test_bad_parquet_files_are_refused(tmp_path, offline, damage):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "train.parquet"
    images, labels = pictures(30)
    if damage == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "b": [1, 2]}), path)
    elif damage == "sizes":
        write_parquet(path, [*images[:29], images[29][:5]], labels)
    else:
        write_parquet(path, images, labels)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"no parquet")
    with pytest.raises(InputError, match="parquet"):
        load(f"parquet:{tmp_path}")

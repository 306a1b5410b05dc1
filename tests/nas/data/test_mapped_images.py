import tracemalloc

import numpy as np
import pytest
import torch

from nas.config import DataConfig, TrainingConfig
from nas.data import Dataset, input_tensors, load_data
from nas.training.batches import Batches
from search_spaces import InputError


def pictures(n: int, seed: int, side: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Random images, n x side x side x 3, and labels of 3 classes in turn."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), np.arange(n) % 3


@pytest.fixture
def folder(tmp_path):
    for seed, (name, n) in enumerate({"train": 60, "validation": 12, "test": 9}.items()):
        images, labels = pictures(n, seed)
        np.save(tmp_path / f"{name}_x.npy", images)
        np.save(tmp_path / f"{name}_y.npy", labels)
    return tmp_path


def load(folder, **config: float) -> Dataset:
    return load_data(DataConfig(source=f"npy:{folder}", **config), 0)


def in_memory() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"train": pictures(60, 0), "validation": pictures(12, 1), "test": pictures(9, 2)}


def test_mapped_images_are_the_same_data_set_as_those_in_memory(folder):
    mapped = load(folder)
    held = load_data(DataConfig(source=f"python:{__name__}:in_memory"), 0)
    assert isinstance(mapped.train.inputs[0], np.memmap)
    assert (mapped.mean, mapped.std) == (held.mean, held.std)
    assert mapped.num_samples == {"train": 60, "validation": 12, "test": 9}
    first, second = (input_tensors(one, one.validation)[0] for one in (mapped, held))
    assert torch.equal(first, second)


def test_batches_of_mapped_images_are_those_of_images_in_memory(folder):
    data = [load(folder), load_data(DataConfig(source=f"python:{__name__}:in_memory"), 0)]
    index = np.array([50, 3, 3, 17])
    batches = [Batches(one, TrainingConfig(), torch.device("cpu")) for one in data]
    drawn = [one(index, torch.Generator().manual_seed(1)) for one in batches]
    assert torch.equal(drawn[0][0][0], drawn[1][0][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


@pytest.mark.parametrize("name", ["train", "validation", "test"])
@pytest.mark.parametrize("one", "xy")
def test_any_changed_byte_changes_the_hash(folder, monkeypatch, name, one):
    monkeypatch.setattr("nas.data.dataset.CHUNK_BYTES", 1000)  # several pieces
    before = load(folder).sha256()
    assert load(folder).sha256() == before
    array = np.load(folder / f"{name}_{one}.npy")
    array.flat[-1] = (array.flat[-1] + 1) % 3
    np.save(folder / f"{name}_{one}.npy", array)
    assert load(folder).sha256() != before


def test_the_hash_does_not_depend_on_the_pieces(folder, monkeypatch):
    whole = load(folder).sha256()
    monkeypatch.setattr("nas.data.dataset.CHUNK_BYTES", 700)
    assert load(folder).sha256() == whole


def test_of_many_images_some_at_even_distances_are_counted(folder, monkeypatch):
    images, _ = pictures(60, 0)
    monkeypatch.setattr("nas.data.images.COUNTED_BYTES", images.nbytes // 4)
    np.testing.assert_allclose(load(folder).mean, images[::4].mean((0, 1, 2)) / 255, rtol=1e-12)


def test_the_mean_and_spread_are_those_of_the_bytes(folder):
    images, _ = pictures(60, 0)
    data = load(folder)
    np.testing.assert_allclose(data.mean, images.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(data.std, images.std((0, 1, 2)) / 255, rtol=1e-12)


def test_the_files_are_not_held_in_memory_nor_changed(tmp_path):
    n = 4000  # 144 MB of images
    x = np.lib.format.open_memmap(tmp_path / "train_x.npy", "w+", np.uint8, (n, 110, 110, 3))
    x[::100] = 200
    x.flush()
    size = x.nbytes
    del x
    np.save(tmp_path / "train_y.npy", np.arange(n) % 3)
    for name in ("validation", "test"):
        np.save(tmp_path / f"{name}_x.npy", np.zeros((6, 110, 110, 3), np.uint8))
        np.save(tmp_path / f"{name}_y.npy", np.arange(6) % 3)
    before = (tmp_path / "train_x.npy").stat().st_mtime_ns
    tracemalloc.start()
    try:
        data = load(tmp_path)
        data.sha256()
        batches = Batches(data, TrainingConfig(), torch.device("cpu"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == data.train.inputs[0].nbytes
    assert most < size / 2
    inputs, _ = batches(np.array([0, 1]), None)
    assert inputs[0][0].mean() > inputs[0][1].mean()
    assert (tmp_path / "train_x.npy").stat().st_mtime_ns == before


def test_missing_splits_are_carved_off_training(folder):
    for name in ("validation", "test"):
        for one in "xy":
            (folder / f"{name}_{one}.npy").unlink()
    assert load(folder).num_samples == {"train": 36, "validation": 12, "test": 12}


def test_a_part_of_the_training_images_keeps_the_other_splits(folder):
    assert load(folder, max_samples=9).num_samples == {"train": 9, "validation": 12, "test": 9}


def test_grey_images_of_three_dimensions(folder):
    for name in ("train", "validation", "test"):
        np.save(folder / f"{name}_x.npy", np.load(folder / f"{name}_x.npy")[..., 0])
    assert load(folder).train.inputs[0].shape == (60, 1, 6, 6)


IMAGES, LABELS = pictures(60, 0)
BAD_FILES = {
    "rows instead of images": ("train_x", IMAGES.reshape(60, -1), "(60, 108)"),
    "channels first": ("train_x", IMAGES.transpose(0, 3, 1, 2), "(60, 3, 6, 6)"),
    "fractions": ("train_x", IMAGES / 255, "uint8 (0 to 255), got float64"),
    "wider numbers": ("train_x", IMAGES.astype(np.int16), "uint8 (0 to 255), got int16"),
    "more labels than images": ("train_y", np.arange(61) % 3, "each of 60 images, got (61,)"),
    "fewer labels than images": ("train_y", LABELS[:59], "each of 60 images, got (59,)"),
    "fractions as labels": ("train_y", LABELS / 2, "whole-number label"),
    "another size in test": ("test_x", pictures(9, 2, side=5)[0], "different sizes"),
    "pickled labels": ("train_y", LABELS.astype(object), "train_y.npy: expected a file of numpy"),
    "pickled images": ("train_x", IMAGES.astype(object), "train_x.npy: expected a file of numpy"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_arrays_are_refused(folder, case):
    name, array, words = BAD_FILES[case]
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(InputError) as error:
        load(folder)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["train_x", "train_y", "validation_y", "test_x"])
def test_a_missing_file_is_named(folder, name):
    (folder / f"{name}.npy").unlink()
    with pytest.raises(InputError, match=rf"both or none\), no {name}\.npy"):
        load(folder)


@pytest.mark.parametrize("name", ["train_x", "train_y"])
@pytest.mark.parametrize("damage", ["empty", "text", "torn", "npz", "folder"])
def test_files_that_are_no_npy_are_refused(folder, name, damage):
    path = folder / f"{name}.npy"
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "npz":
        with path.open("wb") as file:
            np.savez(file, x=IMAGES)
    else:
        path.write_bytes({"empty": b"", "text": b"images", "torn": whole[:-100]}[damage])
    with pytest.raises(InputError) as error:
        load(folder)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_source_of_images_is_no_source_of_texts(folder):
    with pytest.raises(InputError, match="npy gives images"):
        load_data(DataConfig(source=f"npy:{folder}"), 0, "tokens")

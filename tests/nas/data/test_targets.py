"""What networks are to answer, for losses and metrics of the user's own."""

import numpy as np
import pytest
import torch

from nas.config import DataConfig, check_recipe
from nas.data import Dataset, load_data
from nas.task import make_task
from nas.training.batches import target_tensor
from search_spaces import InputError

N = 40
HERE = f"python:{__name__}"


@pytest.fixture
def load(tmp_path):
    def loaded(y: np.ndarray, classification: bool = False) -> Dataset:
        x = np.random.default_rng(0).integers(0, 256, (len(y), 8, 8), dtype=np.uint8)
        np.savez(tmp_path / "data.npz", x=x, y=y)
        config = DataConfig(source=f"npz:{tmp_path / 'data.npz'}")
        return load_data(config, 0, classification=classification)

    return loaded


def mixed() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    images = np.zeros((N, 8, 8), np.uint8)
    return {"train": (images, np.arange(N) / N), "test": (images, np.arange(N) % 2)}


def test_fractions_are_columns_so_that_torchs_losses_do_not_broadcast(load):
    data = load(np.arange(N) / N)
    targets = target_tensor(data.train)
    assert targets.shape == (len(data.train), 1)
    assert data.num_classes == 1
    name = "python:torch.nn.functional:mse_loss"
    recipe = {"task": {"loss": name, "metric": name}, "training": {"label_smoothing": 0}}
    loss = make_task(check_recipe(recipe)).training_loss(
        targets.clone().requires_grad_(True), targets
    )
    assert float(loss.detach()) == 0.0
    assert torch.equal(targets[:, 0], torch.from_numpy(data.train.targets[:, 0]))


@pytest.mark.parametrize(
    "y", [np.arange(N) * 10, np.arange(N) - 5, np.full((N, 4, 4), -2), np.full((N, 2), 10**6)]
)
def test_whole_numbers_that_are_no_classes_are_refused(load, y):
    with pytest.raises(InputError, match=r"give y as fractions \(float\) for a regression"):
        load(y)


@pytest.mark.parametrize("ignored", [-1, 255])
def test_ignored_pixels_are_no_class(load, ignored):
    y = np.arange(N * 16).reshape(N, 4, 4) % 3
    y[:, 0, 0] = ignored
    data = load(y)
    assert data.num_classes == 3
    assert (data.train.targets[:, 0, 0] == ignored).all()
    with pytest.raises(InputError, match="fractions"):
        load(np.where(np.arange(N) % 2, ignored, 0))  # of one dimension nothing is ignored


def test_splits_of_different_kinds_of_targets_are_refused():
    with pytest.raises(InputError, match=r"fractions in train.* classes in test"):
        load_data(DataConfig(source=f"{HERE}:mixed"), 0, classification=False)

import math

import numpy as np
import pytest
import torch

from nas.config import TrainingConfig
from nas.data import Dataset, Split, input_tensors
from nas.data.images import augment_images as augment
from nas.training.batches import target_tensor

STILL = TrainingConfig(shift=0, rotate=0, scale=0, flip=False)


def changed(**settings) -> TrainingConfig:
    return STILL.model_copy(update=settings)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 40, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=generator(9))


def dot(n: int, row: float, column: float, side: int = 33) -> torch.Tensor:
    """Smooth blobs around one place, so that their centre is known below a pixel."""
    places = torch.arange(side, dtype=torch.float32)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    blob = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4)
    return blob.expand(n, 1, side, side)


def centres(images: torch.Tensor) -> torch.Tensor:
    """(row, column) of the centre of mass, n x 2, from the middle of the image."""
    n, _, side, _ = images.shape
    places = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    mass = images.sum(dim=(1, 2, 3))
    rows = (images.sum(dim=(1, 3)) @ places) / mass
    columns = (images.sum(dim=(1, 2)) @ places) / mass
    assert n == len(rows)
    return torch.stack([rows, columns], dim=1)


# --- augment --------------------------------------------------------------------------------------


def test_identity_settings_change_nothing():
    images = pictures()
    assert torch.equal(augment(images, STILL, generator()), images)


@pytest.mark.parametrize(
    "settings",
    [{"shift": 0.2}, {"rotate": 20.0}, {"scale": 0.3}, {"flip": True}, {"shift": 0.1, "scale": 1}],
)
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (1, 3, 12, 12), (5, 3, 8, 16)])
def test_shapes_stay_and_the_generator_decides(settings, shape):
    images = torch.randn(shape, generator=generator(5))
    before = images.clone()
    config = changed(**settings)
    first, again = augment(images, config, generator(1)), augment(images, config, generator(1))
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, again)
    assert first.isfinite().all()
    assert torch.equal(images, before)


def test_another_seed_gives_other_images():
    config = changed(shift=0.2, rotate=10.0)
    assert not torch.equal(
        augment(pictures(), config, generator(1)), augment(pictures(), config, generator(2))
    )


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    augment(pictures(), changed(shift=0.2, flip=True), generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pure_flip_mirrors_half_of_the_images():
    images = pictures(n=400)
    flipped = augment(images, changed(flip=True), generator())
    kept = torch.isclose(flipped, images, atol=1e-4).flatten(1).all(dim=1)
    mirrored = torch.isclose(flipped, torch.flip(images, dims=[3]), atol=1e-4).flatten(1).all(dim=1)
    assert (kept ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_shifts_reach_the_stated_share_of_the_side_and_no_further():
    images = dot(300, 16, 16)
    moved = centres(augment(images, changed(shift=0.2), generator()))
    limit = 0.2 * 33
    assert moved.abs().max() <= limit + 0.05
    assert (moved.abs().amax(dim=0) > 0.9 * limit).all()
    assert (moved.amin(dim=0) < -0.9 * limit).all()


def test_shifts_and_flips_move_whole_pixels():
    """Every image is one of all crops of the image with zeros around it, as it is or mirrored."""
    images = torch.randn(40, 3, 8, 12, generator=generator(5))
    moved = augment(images, changed(shift=0.25, flip=True), generator())
    found = set()
    for image, result in zip(images.numpy(), moved.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (3, 3)))
        places = [
            (row, column, mirrored)
            for row in range(5)
            for column in range(7)
            for mirrored in (False, True)
            if np.array_equal(
                padded[:, row : row + 8, column : column + 12][..., :: -1 if mirrored else 1],
                result,
            )
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 20
    assert {mirrored for *_, mirrored in found} == {False, True}
    assert {row for row, *_ in found} == set(range(5))


def test_shifts_below_a_pixel_are_not_lost():
    moved = centres(augment(dot(40, 16, 16), changed(shift=0.02), generator()))
    assert 0.3 < moved.abs().max() < 0.7


def test_rotations_turn_around_the_middle_by_at_most_the_stated_angle():
    images = dot(300, 16, 26)  # 10 to the right of the middle
    moved = centres(augment(images, changed(rotate=30.0), generator()))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((300,), 10.0), atol=0.1, rtol=0)
    angles = torch.atan2(moved[:, 0], moved[:, 1]) * 180 / math.pi
    assert angles.abs().max() <= 30.5
    assert angles.max() > 27
    assert angles.min() < -27


def test_scales_stay_within_the_stated_share():
    images = dot(300, 16, 26)
    distance = centres(augment(images, changed(scale=0.25), generator()))[:, 1]
    assert distance.min() >= 10 / 1.25 - 0.1
    assert distance.max() <= 10 / 0.75 + 0.1
    assert distance.max() - distance.min() > 4


def test_what_comes_in_from_outside_is_the_mean_colour():
    moved = augment(torch.ones(200, 1, 8, 8), changed(shift=0.5), generator())
    assert moved.min() == 0
    assert moved.max() <= 1 + 1e-5


def test_every_image_moves_by_its_own_amount():
    moved = centres(augment(dot(50, 16, 16), changed(shift=0.2), generator()))
    assert len({tuple(row) for row in moved.round(decimals=3).tolist()}) > 35  # of 169 places
    assert not torch.allclose(moved[:, 0], moved[:, 1], atol=0.1)


# --- tensors --------------------------------------------------------------------------------------


def test_training_images_get_mean_0_and_deviation_1_per_channel():
    rng = np.random.default_rng(0)
    images = np.stack(
        [rng.integers(low, high, (50, 8, 8)) for low, high in ((0, 50), (90, 255), (30, 40))],
        axis=1,
    ).astype(np.uint8)
    train = Split((images,), np.arange(50) % 2)
    by_channel = images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    mean, std = (tuple(x.tolist()) for x in (by_channel.mean(axis=1), by_channel.std(axis=1)))
    data = Dataset(train, train, train, "image", ("a", "b"), 2, mean, std)
    (normal,) = input_tensors(data, train)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normal.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        normal.std(dim=(0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0
    )
    np.testing.assert_array_equal(target_tensor(train).numpy(), train.targets)
    index = np.array([7, 3, 3])
    (some,) = input_tensors(data, train, index)
    assert torch.equal(some, normal[index])
    np.testing.assert_array_equal(target_tensor(train, index).numpy(), train.targets[index])

import numpy as np
import pytest
import torch

from search_spaces import InputError, TensorSpec, build_space
from search_spaces.supernet import Supernet, resize
from tests.contracts.supernet_contract import shared_positions, taken


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_initial_weights_follow_the_global_seed():
    space = build_space("mobilenet-digits")
    states = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            states.append(torch.cat([p.flatten() for p in Supernet(space).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ["mobilenet-digits", "mobilenet-cifar"])
def test_a_larger_option_never_gives_a_weight_up(name):
    space = build_space(name)
    supernet = Supernet(space)
    first, second = (space.sample(3, np.random.default_rng(seed)) for seed in (0, 1))
    below = space.canonicalize(np.minimum(first, second))
    above = space.canonicalize(np.maximum(first, second))
    for smaller, larger in zip(below, above, strict=True):
        held, holding = (
            shared_positions(supernet, space.decode(genome)) for genome in (smaller, larger)
        )
        assert taken(supernet, holding)[held].all()


def test_the_largest_subnet_is_the_whole_supernet():
    space = build_space("mobilenet-digits")
    supernet = Supernet(space)
    positions = shared_positions(supernet, space.decode(space.largest()[0]))
    assert sorted(positions.tolist()) == list(range(sum(p.numel() for p in supernet.parameters())))


def test_architectures_of_another_space_are_refused():
    supernet = Supernet(build_space("mobilenet-digits"))
    other = build_space("mobilenet-cifar")
    stranger = other.decode(other.smallest()[0])
    for use in (supernet.extract, supernet.layers, supernet.inputs):
        with pytest.raises(InputError, match="mobilenet-cifar@1"):
            use(stranger)
    with pytest.raises(InputError, match="mobilenet-cifar@1"):
        supernet(torch.zeros(8, 1, 24, 24), stranger)


# --- resize ---------------------------------------------------------------------------------------


def resized(batch: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return resize((batch,), [TensorSpec(shape)])[0]


def test_other_inputs_pass_unchanged():
    ids, sequence = torch.zeros(2, 9, dtype=torch.int64), random_images(2, 5, 9)
    specs = [TensorSpec((4,), "int64"), TensorSpec((5, 4), free=(1,))]
    assert resize((ids, sequence), specs) == (ids, sequence)


def test_images_of_the_right_size_pass_unchanged():
    batch = random_images(2, 3, 8, 6)
    assert torch.equal(resized(batch, (3, 8, 6)), batch)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 8, 5), (1, 16, 16), (1, 3, 20)])
def test_height_and_width_follow_the_shape_and_constants_stay(shape):
    found = resized(torch.full((2, 1, 8, 8), 0.7), shape)
    assert found.shape == (2, *shape)
    torch.testing.assert_close(found, torch.full((2, *shape), 0.7))


def test_every_pixel_counts_when_images_shrink():
    impulses = torch.eye(64).reshape(64, 1, 8, 8)  # one bright pixel each
    assert (resized(impulses, (1, 2, 2)).sum(dim=(1, 2, 3)) > 0).all()


def test_images_and_channels_do_not_mix():
    batch = random_images(3, 2, 9, 7)
    found = resized(batch, (2, 4, 5))
    for i in range(3):
        for channel in range(2):
            alone = resized(batch[i : i + 1, channel : channel + 1], (1, 4, 5))
            torch.testing.assert_close(found[i, channel], alone[0, 0])


@pytest.mark.parametrize("size", [(5, 7), (12, 12), (20, 31)])
def test_resize_equals_pillow(size):
    image = pytest.importorskip("PIL.Image")
    batch = random_images(1, 1, 16, 18)
    height, width = size
    expected = image.fromarray(batch[0, 0].numpy()).resize((width, height), image.BILINEAR)
    found = resized(batch, (1, height, width))[0, 0].numpy()
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)

from functools import partial

import numpy as np
import pytest
import torch

from search_spaces import (
    Dimension,
    InputError,
    LayerSlot,
    SearchSpace,
    TensorSpec,
    build_space,
)
from search_spaces.supernet import Supernet, resize
from tests.contracts.onnx_parity import assert_same_in_onnx, with_statistics
from tests.contracts.supernet_contract import (
    SupernetContract,
    batch_of,
    randomise,
    shared_positions,
    taken,
)


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


@pytest.mark.parametrize(
    "name", ["mobilenet-digits", pytest.param("mobilenet-cifar", marks=pytest.mark.slow)]
)
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


# --- several outputs, dense outputs ---------------------------------------------------------------


def two_headed_space(dense: bool) -> SearchSpace:
    """A small backbone with a class and a box, or (dense) with classes at every pixel too."""
    convolution = {"height": 8, "width": 6, "stride": 1}

    def stem(values):
        sizes = {"in_channels": 3, "out_channels": values["channels"], "kernel": values["kernel"]}
        return convolution | sizes | {"activation": "relu"}

    def extra(values):
        channels = values["channels"]
        sizes = {"in_channels": channels, "out_channels": channels, "kernel": 3}
        return convolution | sizes | {"activation": "hard_swish"}

    def vector(num_outputs):
        def fields(values):
            sizes = {"in_channels": values["channels"], "hidden_channels": 0}
            rest = {"num_classes": num_outputs, "activation": "relu", "height": 8, "width": 6}
            return sizes | rest

        return fields

    def pixels(values):
        return convolution | {"in_channels": values["channels"], "out_channels": 5, "kernel": 1}

    backbone = [
        LayerSlot("stem", "conv_norm", ("channels", "kernel"), stem),
        LayerSlot("extra", "conv_norm", ("depth", "channels"), extra, lambda v: v["depth"] > 1),
    ]
    heads = {
        "classes": LayerSlot(
            "class_head", "classifier", ("channels",), vector(7), None, ("extra",)
        ),
        "box": LayerSlot("box_head", "classifier", ("channels",), vector(4), None, ("extra",)),
        "map": LayerSlot("map_head", "convolution", ("channels",), pixels, None, ("extra",)),
    }
    names = ["map"] if dense else ["box", "classes"]  # in another order than the slots
    slots = [*backbone, *(slot for name, slot in heads.items() if name in names)]
    return SearchSpace(
        "two-headed@1",
        [
            Dimension("channels", (4, 8)),
            Dimension("kernel", (1, 3)),
            Dimension("depth", (1, 2)),
        ],
        slots,
        outputs={name: heads[name].name for name in names},
    )


class TestOutputs(SupernetContract):
    @pytest.fixture(params=[False, True], ids=["two outputs", "dense output"])
    def space(self, request):
        return two_headed_space(request.param)

    @pytest.fixture
    def population(self, space):
        random = space.sample(4, np.random.default_rng(0))  # of eight: some are drawn twice
        return space.unique(np.concatenate([space.smallest(), space.largest(), random]))


@pytest.mark.parametrize("dense", [False, True], ids=["two outputs", "dense output"])
def test_outputs_have_their_names_and_shapes_everywhere(dense):
    space = two_headed_space(dense)
    expected = {"map": (5, 8, 6)} if dense else {"box": (4,), "classes": (7,)}
    assert space.outputs == tuple(expected)
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    for genome in space.sample_distinct(8, np.random.default_rng(0)):
        architecture = space.decode(genome)
        draw = partial(batch_of, supernet, architecture)
        subnet = with_statistics(supernet.extract(architecture), draw)
        outputs = supernet(draw(4, 0), architecture)
        assert isinstance(outputs, tuple) != dense
        shapes = [tuple(output.shape) for output in (outputs if not dense else (outputs,))]
        assert shapes == [(4, *shape) for shape in expected.values()]
        model = assert_same_in_onnx(subnet, supernet.inputs(architecture), draw, space.outputs)
        assert [output.name for output in model.graph.output] == list(expected)

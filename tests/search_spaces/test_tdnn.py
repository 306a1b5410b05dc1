from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import torch

from search_spaces import InputError, SearchSpace, build_space
from search_spaces.supernet import Supernet
from search_spaces.tdnn import COARSE, DIGITS, tdnn_space
from tests.contracts.family_check import check_subnets, losses_in_training
from tests.contracts.onnx_parity import (
    assert_equal_outputs,
    assert_same_in_onnx,
    with_statistics,
)
from tests.contracts.supernet_contract import SupernetContract, batch_of, randomise

PRESETS = {preset.name: preset for preset in (COARSE, DIGITS)}
SETTINGS = {"num_classes": 7, "num_features": 5, "frames": 9}


class TestSupernet(SupernetContract):
    @pytest.fixture
    def space(self) -> SearchSpace:
        return build_space("tdnn-digits")


@pytest.mark.parametrize("name", PRESETS)
def test_published_form_is_read(name):
    space = build_space(name)
    for genome in space.sample(20, np.random.default_rng(0)):
        architecture = space.decode(genome)
        values = architecture.values
        blocks = range(1, values["depth"] + 1)
        widths = [values["width"], *(values[f"block{b}.width"] for b in blocks)]
        kernels = [values["stem.kernel"], *(values[f"block{b}.kernel"] for b in blocks)]
        text = f"({values['depth']}, {widths}, {tuple(kernels)}, {values['cat_width']})"
        assert space.parse(text) == architecture


# --- what the values mean -------------------------------------------------------------------------


def expected_layers(preset, values) -> list[tuple[str, str, dict[str, int]]]:
    """Walk the network of one architecture in plain Python, as the paper's code does."""
    frames, width, depth = SETTINGS["frames"], values["width"], values["depth"]
    both = {"channels": width, "frames": frames, "num_inputs": 2}
    layers = [
        ("stem", "conv_norm_1d", {
            "in_channels": 5, "out_channels": width, "frames": frames, "dilation": 1,
            "kernel": values["stem.kernel"],
        })
    ]  # fmt: skip
    for b in range(1, depth + 1):
        layers.append((f"block{b}", "res2_block", {
            "in_channels": width, "mid_channels": values[f"block{b}.width"], "frames": frames,
            "scale": preset.scale, "kernel": values[f"block{b}.kernel"], "dilation": b + 1,
            "squeeze_channels": width // 4,
        }))  # fmt: skip
        layers.append((f"output{b}", "sum_1d", both))
        if b < depth:
            layers.append((f"total{b}", "sum_1d", both))
    if depth > 1:
        layers.append((f"join{depth}", "concat_1d", both | {"num_inputs": depth}))
    cat = values["cat_width"]
    layers.append(("cat", "pointwise_1d", {
        "in_channels": depth * width, "parts": depth, "out_channels": cat, "frames": frames,
    }))  # fmt: skip
    pooled = {"in_channels": cat, "frames": frames}
    if preset.attention_channels:
        layers.append(("pooling", "attentive_statistics_pooling", {
            **pooled, "attention_channels": preset.attention_channels,
        }))  # fmt: skip
    else:
        layers.append(("pooling", "statistics_pooling", pooled))
    layers.append(("embedding", "pooled_embedding", {
        "in_features": 2 * cat, "parts": 2, "out_features": preset.embedding,
    }))  # fmt: skip
    layers.append(("classifier", "sequence_classifier", {
        "in_features": preset.embedding, "num_classes": 7,
    }))  # fmt: skip
    return layers


@pytest.mark.parametrize("name", PRESETS)
def test_layers_follow_from_the_values(name):
    space = build_space(name, **SETTINGS)
    random = space.sample(60, np.random.default_rng(0))
    for genome in np.concatenate([random, space.smallest(), space.largest()]):
        found = [(slot, s.kind, s.values) for slot, s in space.layers.layers(genome)]
        assert found == expected_layers(PRESETS[name], space.decode(genome).values)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_blocks_read_sums_and_the_join_reads_every_block(depth):
    """Block outputs as the paper states: out = block(out) + sum; sum = sum + out."""
    space = build_space("tdnn-digits", **SETTINGS)
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    genome = space.sample(1, np.random.default_rng(depth))
    genome[0, 0] = depth - 1
    architecture = space.decode(genome[0])
    subnet = supernet.extract(architecture).train().double()
    inputs = batch_of(supernet, architecture, 8, seed=0)[0].double()
    parts = dict(subnet.named_children())
    with torch.no_grad():
        out = conv_relu_norm(parts["stem"], inputs)
        total, outs = out, []
        for b in range(1, depth + 1):
            out = by_hand_block(parts[f"block{b}"], out) + total
            total = total + out
            outs.append(out)
        hidden = parts["cat"].get_submodule("0")(torch.cat(outs, dim=1)).relu()
        variance = hidden.var(dim=2, unbiased=False).clamp(min=1e-9)
        statistics = [hidden.mean(dim=2), variance.sqrt()]
        pooled = parts["embedding"].pooled_norm(torch.cat(statistics, dim=1))
        expected = parts["embedding"].norm(parts["embedding"].linear(pooled))
        expected = parts["classifier"].get_submodule("0")(expected)
        torch.testing.assert_close(subnet(inputs), expected, rtol=1e-8, atol=1e-8)


def conv_relu_norm(layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    convolution, norm = (layer.get_submodule(i) for i in "02")
    return norm(convolution(hidden).relu())


def by_hand_block(block: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """An SE-Res2 block: the first part alone, every other with what the one before gave."""

    parts = list(conv_relu_norm(block.get_submodule("first"), inputs).chunk(DIGITS.scale, dim=1))
    for i in range(DIGITS.scale - 1):
        before = parts[i - 1] if i else 0
        parts[i] = conv_relu_norm(block.get_submodule(f"convs.{i}"), parts[i] + before)
    hidden = conv_relu_norm(block.get_submodule("last"), torch.cat(parts, dim=1))
    squeeze = block.get_submodule("squeeze_excite")
    means = hidden.mean(dim=2, keepdim=True)
    return hidden * squeeze.expand(squeeze.reduce(means).relu()).sigmoid()


# --- published figures ----------------------------------------------------------------------------

EMBEDDING = {"num_classes": 1}  # the published networks end at the embedding of 192
CLASSES = {"macs": 192, "num_params": 193}  # what one class adds

# EfficientTDNN (arXiv:2103.13581): parameters as its authors' tool counts them (their card and
# notebook: 7.55M, 5.79M, 2.42M, 899.20K, 443.97K); MACs of convolutions and linear layers at 300
# frames (they count 2 more per number of a norm: 1.93G, 1.45G, 570.98M, 204.07M, 83.47M).
PUBLISHED = {
    "largest": ("(4, [512,512,512,512,512], [5,5,5,5,5], 1536)", 7_550_528, 1_925_414_912),
    "Base": ("(3, [512,512,512,512], [5,3,3,3], 1536)", 5_789_760, 1_437_450_240),
    "Mobile": ("(3, [384,256,256,256], [5,3,3,3], 768)", 2_416_416, 567_300_096),
    "Small": ("(2, [256,256,256], [3,3,3], 400)", 899_200, 202_356_736),
    "smallest": ("(2, [128,128,128], [1,1,1], 384)", 443_968, 82_954_240),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_costs(name):
    text, num_params, macs = PUBLISHED[name]
    preset = replace(COARSE, cat_widths=(384, 400, 536, 768, 1152, 1536))  # 400 is not coarse
    space = tdnn_space(preset, num_classes=1, num_features=80, frames=300)
    costs = space.layers.costs(space.encode(space.parse(text))).row(0)
    assert costs["num_params"] - CLASSES["num_params"] == num_params
    assert costs["macs"] - CLASSES["macs"] == macs


def test_published_ends_are_those_of_the_space():
    space = build_space("tdnn", num_classes=1)
    for genome, name in ((space.smallest(), "smallest"), (space.largest(), "largest")):
        assert space.decode(genome[0]) == space.parse(PUBLISHED[name][0])


def test_number_of_architectures():
    """Counted by hand: at depth d, d + 1 widths and kernels, and the width of the join."""
    for name, options, depths in (
        ("tdnn", (5, 3, 5), (2, 3, 4)),
        ("tdnn-digits", (3, 2, 2), (1, 2, 3)),
    ):
        widths, kernels, cat_widths = options
        expected = sum((widths * kernels) ** (d + 1) for d in depths) * cat_widths
        assert build_space(name).num_architectures == expected
    assert build_space("tdnn").num_architectures == 4_066_875


# --- sequences of other lengths -------------------------------------------------------------------


def attentive_space() -> SearchSpace:
    preset = replace(DIGITS, name="attentive", attention_channels=6)
    return tdnn_space(preset, num_classes=4, num_features=5, frames=12)


@pytest.mark.parametrize("build", [attentive_space, partial(build_space, "tdnn-digits")])
def test_subnet_and_onnx_file_take_sequences_of_any_length(build: Callable[[], SearchSpace]):
    space = build()
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    architecture = space.decode(space.sample(1, np.random.default_rng(1))[0])
    specs = supernet.inputs(architecture)
    features, frames = specs["input"].shape
    draw = partial(batch_of, supernet, architecture)
    subnet = with_statistics(supernet.extract(architecture), draw)
    model = assert_same_in_onnx(subnet, specs, draw, space.outputs)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(2, features, length, generator=generator),)
        for length in (1, frames // 2, frames, 2 * frames, 2 * frames + 1)
    ]
    assert_equal_outputs(model, subnet, batches)
    (given,) = onnx.load_from_string(model.SerializeToString()).graph.input
    sizes = given.type.tensor_type.shape.dim
    assert sizes[1].dim_value == features
    assert sizes[0].dim_param != sizes[2].dim_param != ""
    # the supernet takes them too, and answers as the subnet does
    subnet.train()
    for (batch,) in batches[1:]:
        with torch.no_grad():
            expected = supernet(batch, architecture)
            torch.testing.assert_close(subnet(batch), expected, rtol=1e-4, atol=1e-4)


def test_a_sequence_without_frames_is_refused():
    supernet = Supernet(build_space("tdnn-digits"))
    architecture = supernet.space.decode(supernet.space.smallest()[0])
    with pytest.raises(InputError, match=r"takes input \(8, 8\), got \(8, 0\)"):
        supernet(torch.zeros(4, 8, 0), architecture)


def test_costs_hold_for_the_frames_that_are_stated():
    short, long = (build_space("tdnn-digits", frames=frames) for frames in (8, 16))
    for costs, other in zip(
        *(space.layers.costs(space.largest()).row(0).items() for space in (short, long)),
        strict=True,
    ):
        assert other[1] == costs[1] if costs[0] == "num_params" else other[1] > 1.7 * costs[1]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_below_one_are_refused(setting):
    with pytest.raises(InputError, match=f"tdnn-digits: expected {setting} of at least 1, got 0"):
        build_space("tdnn-digits", **{setting: 0})


def test_settings_of_other_data_are_refused():
    with pytest.raises(InputError, match="expected num_classes and num_features and frames"):
        build_space("tdnn", input_channels=3)


@pytest.mark.parametrize("widths", [(8, 18), (12, 14)])
def test_widths_that_do_not_divide_are_refused(widths):
    with pytest.raises(InputError, match=rf"multiples of 4 .* got \[{widths[1]}\]"):
        replace(DIGITS, widths=widths)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(3, [512,512,512], [5,3,3,3], 1536)", "expected 3 widths and kernels after the first"),
        ("(3, [512,512,512,512], [5,3,3,3])", "expected .* cat width.*, got 3 entries"),
        ("(3, [512,512,512,512], [5,3,3,3], 1500)", "cat_width: unknown option 1500"),
        ("(3, [512,512,512,520], [5,3,3,3], 1536)", "block3.width: unknown option 520"),
        ("(5, [512,512,512,512,512,512], [5,3,3,3,3,3], 1536)", "unknown|not an architecture"),
        ("(3, 512, 5, 1536)", "not an architecture of tdnn@1"),
        ("(3, [], [], 1536)", "not an architecture of tdnn@1"),
    ],
)
def test_faulty_text_forms_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        build_space("tdnn").parse(text)


# --- many architectures ---------------------------------------------------------------------------


@pytest.mark.slow
def test_fifty_random_architectures():
    """Supernet, extracted subnet, ONNX file and costs agree."""
    space = attentive_space()
    check_subnets(space, space.sample_distinct(50, np.random.default_rng(0)))


def test_the_small_preset_learns():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(32, 8, 8, generator=generator)
    labels = torch.randint(0, 10, (32,), generator=generator)
    losses = losses_in_training(build_space("tdnn-digits"), inputs, labels)
    assert losses[-1] < 0.2 * losses[0]

import csv
import gzip
import json
import math

import numpy as np
import pytest

from search_spaces import InputError, build_space
from search_spaces.mobilenet import CIFAR, DIGITS, V3, V3_W12
from search_spaces.stages import make_divisible

PRESETS = {preset.name: preset for preset in (DIGITS, CIFAR, V3, V3_W12)}
SETTINGS = {"num_classes": 7, "input_channels": 2}


def divisible(channels: float) -> int:
    """The MobileNet rule, one number at a time."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def expected_layers(preset, values) -> list[tuple[str, str, dict[str, object]]]:
    """Walk the network of one architecture in plain Python, every layer fed by the one before."""
    side, channels = values["resolution"], SETTINGS["input_channels"]
    layers = []

    def add(name, kind, result, layer_stride, **fields):
        nonlocal side, channels
        common = {"height": side, "width": side, "in_channels": channels}
        layers.append((name, kind, common | fields))
        side, channels = math.ceil(side / layer_stride), result

    def convolution(name, base, kernel, stride):
        out = divisible(base * values["width"])
        add(
            name, "conv_norm", out, stride,
            out_channels=out, kernel=kernel, stride=stride, activation="hard_swish",
        )  # fmt: skip

    def block(name, out, mid, kernel, stride, squeezed, activation):
        add(
            name, "inverted_residual", out, stride, out_channels=out, mid_channels=mid,
            kernel=kernel, stride=stride, squeeze_channels=squeezed, activation=activation,
        )  # fmt: skip

    convolution("stem", preset.stem_channels, 3, preset.stem_stride)
    if preset.first_block:
        block("first_block", channels, channels, 3, 1, 0, "relu")
    for s, stage in enumerate(preset.stages, start=1):
        for b in range(1, values[f"stage{s}.depth"] + 1):
            mid = divisible(channels * values[f"stage{s}.block{b}.expansion"])
            block(
                f"stage{s}_block{b}",
                divisible(stage.channels * values["width"]),
                mid,
                values[f"stage{s}.block{b}.kernel"],
                stage.stride if b == 1 else 1,
                divisible(mid // 4) if stage.squeeze_excite else 0,
                stage.activation,
            )
    convolution("final", preset.final_channels, 1, 1)
    hidden = divisible(preset.hidden_channels * values["width"])
    add(
        "classifier", "classifier", 0, 1, hidden_channels=hidden,
        num_classes=SETTINGS["num_classes"], activation="hard_swish",
    )  # fmt: skip
    return layers


@pytest.mark.parametrize("name", PRESETS)
def test_layers_follow_from_the_values(name):
    space = build_space(name, **SETTINGS)
    random = space.sample(60, np.random.default_rng(0))
    for genome in np.concatenate([random, space.smallest(), space.largest()]):
        found = [(slot, s.kind, s.values) for slot, s in space.layers.layers(genome)]
        assert found == expected_layers(PRESETS[name], space.decode(genome).values)


def test_channels_are_rounded_by_the_mobilenet_rule():
    channels = np.concatenate([np.arange(1, 400), np.arange(1, 400) * 0.75])
    assert make_divisible(channels).tolist() == [divisible(c) for c in channels.tolist()]
    # published widths: 24 x 0.75 = 18 would lose more than 10 % at 16
    assert make_divisible(np.array([18, 16, 3, 100])).tolist() == [24, 16, 8, 104]


def test_published_costs(tables):
    """MACs and parameters of the once-for-all supernet's subnets, as its authors' tools state."""
    space = build_space("mobilenet-v3")
    with gzip.open(tables / "ofa_mobilenet_v3_accuracy.csv.gz", "rt") as file:
        published = list(csv.DictReader(file))
    published = published[:: len(published) // 300][:300]  # from all over the table
    assert len(published) == 300
    population = space.encode_all(space.parse(row["arch"]) for row in published)
    costs = space.layers.costs(population)
    assert costs.macs.tolist() == [float(row["macs"]) for row in published]
    assert costs.num_params.tolist() == [float(row["num_params"]) for row in published]
    assert len(set(costs.macs.tolist())) > 200


@pytest.mark.parametrize(
    ("name", "kernel", "expansion", "depth", "num_params", "macs"),
    [
        ("mobilenet-v3", 7, 6, 4, 7_664_760, 566_170_656),
        ("mobilenet-v3", 3, 3, 2, 3_410_792, 121_278_672),
        ("mobilenet-v3-w1.2", 7, 6, 4, 10_701_632, 843_101_040),
        ("mobilenet-v3-w1.2", 5, 4, 3, 6_245_312, 385_659_168),
        ("mobilenet-v3-w1.2", 3, 3, 2, 4_602_456, 193_078_200),
    ],
)
def test_costs_of_uniform_subnets(name, kernel, expansion, depth, num_params, macs):
    """Of once-for-all's two supernets (arXiv:1908.09791), at 224 px."""
    space = build_space(name)
    text = {"ks": [kernel] * 20, "e": [expansion] * 20, "d": [depth] * 5, "r": 224}
    costs = space.layers.costs(space.encode(space.parse(json.dumps(text)))).row(0)
    assert (costs["num_params"], costs["macs"]) == (num_params, macs)


# --- once-for-all's text form ---------------------------------------------------------------------


@pytest.fixture
def text_form():
    return {
        "ks": [3, 5, 7, 3, *[5] * 16],
        "e": [3, 4, 6, 3, *[4] * 16],
        "d": [2, 3, 4, 3, 2],
        "r": 176,
    }


@pytest.fixture
def space():
    return build_space("mobilenet-v3")


def test_text_form_of_once_for_all(space, text_form):
    values = space.parse(json.dumps(text_form)).values
    assert values["resolution"] == 176
    assert values["width"] == 1.0
    assert [values[f"stage{s}.depth"] for s in range(1, 6)] == [2, 3, 4, 3, 2]
    assert [values[f"stage1.block{b}.kernel"] for b in (1, 2)] == [3, 5]
    assert [values[f"stage1.block{b}.expansion"] for b in (1, 2)] == [3, 4]
    assert "stage1.block3.kernel" not in values  # beyond the depth of the stage
    assert values["stage5.block2.kernel"] == 5
    assert len(values) == 2 + 5 + 2 * sum(text_form["d"])


def test_every_entry_reaches_its_own_block(space, text_form):
    text_form["d"] = [4] * 5
    base = dict(space.parse(json.dumps(text_form)).values)
    for key, dimension, change in (("ks", "kernel", {3: 7}), ("e", "expansion", {3: 6})):
        for i in range(20):
            entries = list(text_form[key])
            entries[i] = change.get(entries[i], 3)
            values = dict(space.parse(json.dumps(text_form | {key: entries})).values)
            changed = {name for name in values if values[name] != base[name]}
            assert changed == {f"stage{i // 4 + 1}.block{i % 4 + 1}.{dimension}"}


def test_entries_beyond_the_depth_say_nothing(space, text_form):
    expected = space.parse(json.dumps(text_form))
    kernels = list(text_form["ks"])
    kernels[2:4] = [5, 5]  # stage 1 has two blocks
    assert space.parse(json.dumps(text_form | {"ks": kernels})) == expected


def test_both_text_forms_give_one_architecture(space, text_form):
    architecture = space.parse(json.dumps(text_form))
    assert space.parse(json.dumps(dict(architecture.values))) == architecture


def test_a_width_may_be_stated():
    space = build_space("mobilenet-cifar")
    text = {"ks": [3] * 16, "e": [3] * 16, "d": [2] * 4, "r": 28}
    assert space.parse(json.dumps(text)).values["width"] == 1.0
    assert space.parse(json.dumps(text | {"w": 0.75})).values["width"] == 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": [3] * 19}, "expected 20 entries in ks and e and 5 in d"),
        ({"ks": [3] * 21}, "expected 20 entries"),
        ({"e": [3] * 10}, "expected 20 entries"),
        ({"d": [2] * 4}, "5 in d"),
        ({"ks": [4] * 20}, r"stage1\.block1\.kernel: unknown option 4; options: 3, 5, 7"),
        ({"e": [5] * 20}, r"stage1\.block1\.expansion: unknown option 5"),
        ({"d": [5] * 5}, r"architecture|stage1\.depth: unknown option 5"),
        ({"d": [2, 2, 2, 2, 5]}, "not an architecture|unknown option 5"),
        ({"d": ["2"] * 5}, "not an architecture|unknown option '2'"),
        ({"r": 225}, "resolution: unknown option 225"),
        ({"r": None}, "resolution: unknown option None"),
        ({"ks": 3}, "not an architecture"),
        ({"ks": "3" * 20}, "unknown option '3'"),
    ],
)
def test_faulty_text_forms_are_refused(space, text_form, change, message):
    with pytest.raises(InputError, match=message):
        space.parse(json.dumps(text_form | change))


@pytest.mark.parametrize("missing", ["e", "d", "r"])
def test_incomplete_text_forms_are_refused(space, text_form, missing):
    del text_form[missing]
    with pytest.raises(InputError, match="not an architecture of mobilenet-v3@1"):
        space.parse(json.dumps(text_form))


@pytest.mark.parametrize("text", ["{'ks': [3]}", '{"ks": [3', "[3, 5, 7]", '"ks"', "[]", "224"])
def test_other_texts_are_refused(space, text):
    with pytest.raises(InputError, match="not an architecture of mobilenet-v3@1"):
        space.parse(text)

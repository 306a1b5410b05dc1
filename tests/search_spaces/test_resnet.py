import json
import math

import numpy as np
import pytest

from search_spaces import InputError, build_space
from search_spaces.resnet import CIFAR, DIGITS, RESNET_50D
from tests.contracts.cached_spaces import cached_space
from tests.contracts.family_check import check_subnets
from tests.contracts.supernet_contract import SupernetContract

PRESETS = {preset.name: preset for preset in (DIGITS, CIFAR, RESNET_50D)}
SETTINGS = {"num_classes": 7, "input_channels": 2}


class TestSmallSupernet(SupernetContract):
    @pytest.fixture
    def space(self):
        return cached_space("resnet-digits")


# --- layers ---------------------------------------------------------------------------------------


def divisible(channels: float, divisor: int) -> int:
    """The MobileNet rule, one number at a time."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def expected_layers(preset, values) -> list[tuple[str, str, dict[str, object]]]:
    """Walk the network of one architecture in plain Python, every layer fed by the one before."""
    side, channels = values["resolution"], SETTINGS["input_channels"]
    layers = []

    def add(name, kind, result, layer_stride, **fields):
        nonlocal side, channels
        common = {"height": side, "width": side, "in_channels": channels}
        layers.append((name, kind, common | fields))
        side, channels = math.ceil(side / layer_stride), result

    def convolution(name, out, stride):
        add(
            name, "conv_norm", out, stride,
            out_channels=out, kernel=3, stride=stride, activation="relu",
        )  # fmt: skip

    if preset.name == "resnet-50d":
        inside = divisible(divisible(64 * values["stem.inner.width"], 8) // 2, 8)
        convolution("stem", inside, 2)
        if values["stem.depth"] == 3:
            add("stem_residual", "residual_convolution", inside, 1, kernel=3, activation="relu")
        convolution("stem_output", divisible(64 * values["stem.width"], 8), 1)
        add("stem_pool", "max_pool", channels, 2, kernel=3, stride=2)
    else:
        base = preset.stages[0].channels * values["stage1.width"]
        convolution("stem", divisible(base, preset.divisor), 1)
    for s, stage in enumerate(preset.stages, start=1):
        out = divisible(stage.channels * values[f"stage{s}.width"], preset.divisor)
        for b in range(1, values[f"stage{s}.depth"] + 1):
            mid = round(out * values[f"stage{s}.block{b}.expansion"])
            new_width = b == 1 and (s > 1 or preset.name == "resnet-50d")
            stride = stage.stride if b == 1 else 1
            add(
                f"stage{s}_block{b}", preset.block, out, stride, stride=stride,
                mid_channels=divisible(mid, preset.divisor), out_channels=out,
                shortcut="projection" if new_width else "identity", activation="relu",
            )  # fmt: skip
    add(
        "classifier", "classifier", 0, 1, hidden_channels=0,
        num_classes=SETTINGS["num_classes"], activation="none",
    )  # fmt: skip
    return layers


@pytest.mark.parametrize("name", PRESETS)
def test_layers_follow_from_the_values(name):
    space = build_space(name, **SETTINGS)
    random = space.sample(60, np.random.default_rng(0))
    for genome in np.concatenate([random, space.smallest(), space.largest()]):
        found = [(slot, s.kind, s.values) for slot, s in space.layers.layers(genome)]
        assert found == expected_layers(PRESETS[name], space.decode(genome).values)


@pytest.mark.parametrize("settings", [{"num_classes": 0}, {"input_channels": 0}])
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(InputError, match="at least one class and one channel"):
        build_space("resnet-digits", **settings)


def test_sizes_of_the_spaces():
    assert build_space("resnet-digits").num_architectures == 3 * 2 * (3 + 9) * 2 * (3 + 9 + 27)
    assert build_space("resnet-cifar").num_architectures == 3 * (3 * (3 + 9 + 27 + 243)) ** 3
    stage, third = 3 * (9 + 27 + 81), 3 * (81 + 243 + 729)
    assert build_space("resnet-50d").num_architectures == 8 * 2 * 9 * stage**3 * third


def test_widths_that_round_to_equal_channels_are_one_network():
    space = cached_space("resnet-50d")
    population = np.repeat(space.largest(), 3, axis=0)
    column = [d.name for d in space.dimensions].index("stem.inner.width")
    population[:, column] = [0, 1, 2]  # 24, 24 and 32 channels
    key = space.equivalence_key(population)
    assert np.array_equal(key[0], key[1])
    assert not np.array_equal(key[1], key[2])
    assert len(space.unique(population)) == 2
    layers = [space.layers.layers(genome) for genome in population]
    assert layers[0] == layers[1] != layers[2]
    random = np.repeat(space.sample(30, np.random.default_rng(0)), 3, axis=0)
    random[:, column] = [0, 1, 2] * 30
    keys = {tuple(row) for row in space.equivalence_key(random).tolist()}
    networks = {tuple(space.layers.layers(genome)) for genome in random}
    assert len(keys) == len(networks) == 60


# --- published figures ----------------------------------------------------------------------------


def text_form(depths, expansion, width, resolution=224, **changes):
    """Once-for-all's form, uniform but for `changes`."""
    entries = {"d": depths, "e": [expansion] * 18, "w": [width] * 6, "r": resolution}
    return json.dumps(entries | changes)


@pytest.mark.parametrize(
    ("name", "text", "num_params", "macs"),
    [
        # Wightman et al., timm's resnet50d (He et al., arXiv:1812.01187): 25.6 M, 4.4 G
        ("timm's resnet50d", text_form([2, 1, 2, 2, 1], 0.25, 2), 25_576_264, 4_328_824_832),
        # Cai et al., once-for-all (arXiv:1908.09791), ofa_resnet50 at 224 px
        ("largest", text_form([2] * 5, 0.35, 2), 48_105_992, 7_491_643_904),
        ("middle", text_form([2, 1, 1, 1, 1], 0.25, 2), 24_179_016, 3_892_092_928),
        ("smallest", text_form([0] * 5, 0.2, 0), 6_539_280, 962_192_128),
        ("narrow", text_form([0] * 5, 0.25, 1), 12_052_544, 1_898_910_592),
    ],
)
def test_published_costs_of_resnet_50d(name, text, num_params, macs):
    space = cached_space("resnet-50d")
    costs = space.layers.costs(space.encode(space.parse(text))).row(0)
    assert (costs["num_params"], costs["macs"]) == (num_params, macs), name


def test_ends_of_resnet_50d():
    space = cached_space("resnet-50d")
    for genome, d, e, w, r in (
        (space.smallest(), 0, 0.2, 0, 128), (space.largest(), 2, 0.35, 2, 256),
    ):  # fmt: skip
        assert space.decode(genome[0]) == space.parse(text_form([d] * 5, e, w, r))


@pytest.mark.parametrize(
    ("depth", "num_params", "macs"),
    [(3, 272_474, 40_813_184), (5, 466_906, 69_124_736)],  # option B of He et al., arXiv:1512.03385
    ids=["ResNet-20", "ResNet-32"],
)
def test_published_costs_of_resnet_cifar(depth, num_params, macs):
    space = build_space("resnet-cifar")
    values = {d.name: d.options[-1] for d in space.dimensions}
    values |= {f"stage{s}.depth": depth for s in (1, 2, 3)}
    costs = space.layers.costs(space.encode(space.architecture(values))).row(0)
    assert (costs["num_params"], costs["macs"]) == (num_params, macs)


# --- once-for-all's text form ---------------------------------------------------------------------


@pytest.fixture
def space():
    return cached_space("resnet-50d")


def test_text_form_of_once_for_all(space):
    text = text_form([0, 2, 1, 0, 2], 0.25, 0, 160, w=[0, 1, 2, 0, 1, 2])
    values = space.parse(text).values
    assert values["resolution"] == 160
    assert values["stem.depth"] == 2
    assert [values[f"stage{s}.depth"] for s in range(1, 5)] == [4, 3, 4, 4]
    widths = ["stem.inner", "stem", "stage1", "stage2", "stage3", "stage4"]
    assert [values[f"{name}.width"] for name in widths] == [0.65, 0.8, 1.0, 0.65, 0.8, 1.0]
    assert len(values) == 2 + 4 + 6 + 15
    renamed = json.loads(text)
    renamed["image_size"] = renamed.pop("r")
    assert space.parse(json.dumps(renamed)) == space.parse(text)
    assert space.parse(json.dumps(dict(values))) == space.parse(text)


def test_every_expansion_reaches_its_own_block(space):
    base = space.parse(text_form([2] * 5, 0.25, 2)).values
    blocks = [(s, b) for s, depth in ((1, 4), (2, 4), (3, 6), (4, 4)) for b in range(1, depth + 1)]
    for i, (s, b) in enumerate(blocks):
        entries = [0.25] * 18
        entries[i] = 0.35
        values = space.parse(text_form([2] * 5, 0.25, 2, e=entries)).values
        changed = {name for name in values if values[name] != base[name]}
        assert changed == {f"stage{s}.block{b}.expansion"}


def test_entries_beyond_the_depth_say_nothing(space):
    entries = [0.25] * 18
    expected = space.parse(text_form([2, 0, 2, 2, 2], 0.25, 2))
    entries[2:4] = [0.9, 0.35]  # the first stage has two blocks
    assert space.parse(text_form([2, 0, 2, 2, 2], 0.25, 2, e=entries)) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d": [2] * 4}, "expected 5 entries in d"),
        ({"e": [0.25] * 17}, "expected 18 entries in e"),
        ({"e": 0.25}, "expected 18 entries in e"),
        ({"w": [2] * 7}, "expected 6 entries in w"),
        ({"d": [3] * 5}, "expected depths from 0 to 2"),
        ({"w": [3] * 6}, "expected positions 0 to 2 in w"),
        ({"w": [1.0] * 6}, "expected positions|not an architecture"),
        ({"e": [0.3] * 18}, r"stage1\.block1\.expansion: unknown option 0.3"),
        ({"r": 208}, "resolution: unknown option 208"),
        ({"ks": [3] * 18}, "expected keys d, e, w and r"),
        ({"image_size": 224}, "expected keys d, e, w and r"),
        ({"d": [[]] * 5}, "not an architecture"),
    ],
)
def test_faulty_text_forms_are_refused(space, change, message):
    with pytest.raises(InputError, match=message) as caught:
        space.parse(text_form([2] * 5, 0.25, 2, **change))
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("text", ["[3, 5, 7]", '"d"', "224", '{"d": [2, 2, 2, 2, 2]}', '{"d": '])
def test_other_texts_are_refused(space, text):
    with pytest.raises(InputError, match="not an architecture of resnet-50d@1"):
        space.parse(text)


# --- many architectures ---------------------------------------------------------------------------


def test_networks_of_equal_layers_are_one():
    space = build_space("resnet-digits")
    population = space.sample(300, np.random.default_rng(0))
    layers = [tuple(space.layers.layers(genome)) for genome in population]
    keys = [tuple(row) for row in space.equivalence_key(population).tolist()]
    pairs = len(set(zip(layers, keys, strict=True)))
    assert len(set(layers)) == len(set(keys)) == pairs < len(np.unique(population, axis=0))


@pytest.mark.slow
def test_fifty_architectures():
    space = cached_space("resnet-digits")
    check_subnets(space, space.sample_distinct(50, np.random.default_rng(0)))

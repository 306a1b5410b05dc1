import dataclasses
import json

import numpy as np
import pytest
import torch

from search_spaces import InputError, LayerSpec, build_space
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.supernet import Supernet
from search_spaces.vit import BASE, CIFAR, DIGITS, SMALL, TINY, vit_space
from tests.contracts.family_check import check_subnets, losses_in_training
from tests.contracts.supernet_contract import SupernetContract, randomise
from tests.contracts.torch_encoder import torch_layer

PRESETS = {preset.name: preset for preset in (DIGITS, CIFAR, TINY, SMALL, BASE)}


class TestSupernet(SupernetContract):
    has_batch_norms = False

    @pytest.fixture
    def space(self):
        return build_space("vit-digits")


def homogeneous(space, depth, embedding, heads, ratio):
    """An architecture whose blocks are all alike."""
    values = {"depth": depth, "embedding": embedding}
    for b in range(1, depth + 1):
        values |= {f"block{b}.heads": heads, f"block{b}.ratio": ratio}
    return space.architecture(values)


def costs_of(space, architecture):
    return space.layers.costs(space.encode(architecture)).row(0)


@pytest.mark.parametrize("name", PRESETS)
def test_autoformers_form_is_read(name):
    space = build_space(name)
    for genome in space.sample(20, np.random.default_rng(0)):
        architecture = space.decode(genome)
        values = architecture.values
        blocks = range(1, values["depth"] + 1)
        text = {
            "depth": values["depth"],
            "embed_dim": values["embedding"],
            "mlp_ratio": [values[f"block{b}.ratio"] for b in blocks],
            "num_heads": [values[f"block{b}.heads"] for b in blocks],
        }
        assert space.parse(json.dumps(text)) == architecture


# --- published figures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "embedding", "heads", "params", "macs"),
    [
        # DeiT (arXiv:2012.12877): 5.7M parameters and 1.3 GMACs, 22.1M and 4.6
        ("vit-tiny", 192, 3, 5_717_416, 1_253_683_200),
        ("vit-small", 384, 6, 22_050_664, 4_598_882_304),
    ],
)
def test_deit_is_one_of_the_space(name, embedding, heads, params, macs):
    space = build_space(name)
    costs = costs_of(space, homogeneous(space, 12, embedding, heads, 4.0))
    assert (costs["num_params"], costs["macs"]) == (params, macs)


def test_deit_base_by_the_same_builder():
    preset = dataclasses.replace(BASE, depths=(12,), embeddings=(768,), heads=(12,), ratios=(4.0,))
    space = vit_space(preset, 1000, 3)
    costs = space.layers.costs(space.smallest()).row(0)
    assert (costs["num_params"], costs["macs"]) == (86_567_656, 17_563_828_224)


# The networks that AutoFormer released (arXiv:2107.00651), without its relative positions
AUTOFORMER = {
    "vit-tiny": (
        192,
        [3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5],
        [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3],
        5_768_104,
        1.283,
    ),
    "vit-small": (
        384,
        [3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0],
        [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7],
        22_791_592,
        4.774,
    ),
    "vit-base": (
        576,
        [3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5],
        [9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10],
        53_584_168,
        11.045,
    ),
}


@pytest.mark.parametrize("name", AUTOFORMER)
def test_released_autoformers_are_of_the_spaces(name):
    embedding, ratios, heads, params, giga_macs = AUTOFORMER[name]
    space = build_space(name)
    text = {"depth": len(heads), "embed_dim": embedding, "mlp_ratio": ratios, "num_heads": heads}
    costs = costs_of(space, space.parse(json.dumps(text)))
    assert costs["num_params"] == params
    assert round(costs["macs"] / 1e9, 3) == giga_macs


@pytest.mark.parametrize(
    ("name", "size"), [("vit-tiny", "2.8e+11"), ("vit-small", "7.7e+13"), ("vit-base", "6.2e+15")]
)
def test_spaces_are_as_large_as_autoformers(name, size):
    assert f"{build_space(name).num_architectures:.1e}" == size


# --- what the space builds ------------------------------------------------------------------------


def expected_layers(preset, values, num_classes, channels):
    """The layers of one architecture, walked in plain Python."""
    width, tokens = values["embedding"], 1 + (preset.image_size // preset.patch_size) ** 2
    side = {"height": preset.image_size, "width": preset.image_size}
    patches = {"in_channels": channels, "patch_size": preset.patch_size, "hidden_size": width}
    layers = [("patch_embedding", LayerSpec.of("patch_embedding", side | patches))]
    for b in range(1, values["depth"] + 1):
        fields = {
            "tokens": tokens, "hidden_size": width, "heads": values[f"block{b}.heads"],
            "head_size": preset.head_size, "order": "pre", "norm": "layer", "activation": "gelu",
            "feed_forward_size": int(width * values[f"block{b}.ratio"]),
        }  # fmt: skip
        layers.append((f"block{b}", LayerSpec.of("transformer_block", fields)))
    head = {"tokens": tokens, "hidden_size": width, "norm": "layer", "pooler": "none"}
    spec = LayerSpec.of("token_classifier", head | {"num_classes": num_classes})
    return [*layers, ("classifier", spec)]


@pytest.mark.parametrize("name", PRESETS)
def test_layers_follow_the_architecture(name):
    space = build_space(name, num_classes=7, input_channels=2)
    population = space.sample(20, np.random.default_rng(0))
    costs = space.layers.costs(population)
    for i, genome in enumerate(population):
        layers = expected_layers(PRESETS[name], dict(space.decode(genome).values), 7, 2)
        assert space.layers.layers(genome) == layers
        kinds = [(LAYER_KINDS[spec.kind], spec.values) for _, spec in layers]
        assert costs.macs[i] == sum(kind.macs(values) for kind, values in kinds)


def test_blocks_depend_on_their_own_choices_alone():
    for slot in build_space("vit-base").slots:
        own = {name for name in slot.depends_on if name.startswith("block")}
        assert own <= {f"{slot.name}.heads", f"{slot.name}.ratio"}
    assert len(build_space("vit-base").layers.specs) == 3 * 3 * 3 + 2 * 3


def test_subnet_equals_torchs_own_encoder():
    space = build_space("vit-cifar")
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    subnet = supernet.extract(homogeneous(space, 3, 64, 4, 2.0)).eval()  # 4 heads of 16: 64
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = subnet.patch_embedding.patches(images).flatten(2).transpose(1, 2)
        token = subnet.patch_embedding.class_token.expand(2, 1, 64)
        hidden = torch.cat([token, hidden], dim=1) + subnet.patch_embedding.positions
        for name in ("block1", "block2", "block3"):
            hidden = torch_layer(getattr(subnet, name), 4, 1e-6, is_pre=True)(hidden)
        head = subnet.classifier
        expected = head.logits(head.norm(hidden)[:, 0])
        found = subnet(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_small_preset_learns():
    space = build_space("vit-digits", num_classes=4)
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = images.reshape(64, 4, 16).mean(dim=2).argmax(dim=1)  # the brightest quarter
    losses = losses_in_training(space, images, labels)
    assert losses[0] < 3
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_fifty_architectures():
    space = build_space("vit-digits")
    check_subnets(space, space.sample_distinct(50, np.random.default_rng(0)))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 5, 16])
def test_patches_that_do_not_divide_the_image_are_refused(size):
    with pytest.raises(InputError, match=f"patch that divides the image of 8 px, got {size} px"):
        vit_space(dataclasses.replace(DIGITS, patch_size=size), 10, 1)


@pytest.mark.parametrize("field", ["embeddings", "depths", "heads", "ratios"])
def test_options_must_ascend(field):
    options = getattr(DIGITS, field)
    with pytest.raises(InputError, match="must ascend"):
        vit_space(dataclasses.replace(DIGITS, **{field: options[::-1]}), 10, 1)


@pytest.mark.parametrize("settings", [{"num_classes": 0}, {"input_channels": 0}])
def test_settings_below_one_are_refused(settings):
    with pytest.raises(InputError, match="at least one class and one channel"):
        build_space("vit-digits", **settings)


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 2}, {"depth": None}, {"mlp_ratio": [1.0]}, {"num_heads": [9]}, {"embed_dim": 17},
        {"mlp_ratio": 1.0}, {"extra": 1},
    ],
)  # fmt: skip
def test_published_form_is_checked(change):
    space = build_space("vit-digits")
    good = {"depth": 1, "embed_dim": 16, "mlp_ratio": [1.5], "num_heads": [2]}
    assert space.parse(json.dumps(good)) == homogeneous(space, 1, 16, 2, 1.5)
    if change == {"mlp_ratio": [1.0]}:
        change = {"mlp_ratio": [1.0, 1.0]}
    with pytest.raises(InputError):
        space.parse(json.dumps(good | change))

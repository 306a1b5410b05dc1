import dataclasses

import numpy as np
import pytest
import torch

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import InputError, LayerSpec, build_space
from search_spaces.bert import BASE, BASE_UNCASED, MINI, SMALL, TINY, bert_space
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.supernet import Supernet
from tests.contracts.family_check import check_subnets, losses_in_training
from tests.contracts.supernet_contract import SupernetContract, randomise
from tests.contracts.torch_encoder import torch_layer

PRESETS = {preset.name: preset for preset in (MINI, TINY, SMALL, BASE)}


def mini():
    return build_space("bert-mini", num_classes=3, vocabulary=60, length=12)


class TestSupernet(SupernetContract):
    has_batch_norms = False

    @pytest.fixture
    def space(self):
        preset = dataclasses.replace(MINI, positions=20)  # 8 of which no text here reads
        return bert_space(preset, num_classes=3, vocabulary=60, length=12)


def network_costs(space):
    return space.layers.costs(np.concatenate([space.smallest(), space.largest()]))


# --- published figures ----------------------------------------------------------------------------


def test_bert_base_is_what_was_published():
    space = bert_space(BASE_UNCASED, num_classes=2, vocabulary=30522, length=128)
    costs = space.layers.costs(space.largest()).row(0)
    assert costs["num_params"] == 109_482_240 + 2 * 768 + 2  # the encoder with pooler, and a head
    assert round(costs["macs"] / 1e9, 1) == 11.2  # as arXiv:2201.12507 states it for 128 tokens
    layer = space.layers.spec_costs[1:, 1][[s.kind.endswith("block") for s in space.layers.specs]]
    assert layer.tolist() == [7_087_872]


def test_macs_of_a_layer_are_those_of_its_matrix_products():
    space = bert_space(BASE_UNCASED, num_classes=2, vocabulary=30522, length=128)
    (block,) = [spec for spec in space.layers.specs if spec.kind == "masked_transformer_block"]
    products = [(128, 768, 768)] * 4  # rows, inner size, columns
    products += [(128, 64, 128), (128, 128, 64)] * 12
    products += [(128, 768, 3072), (128, 3072, 768)]
    expected = sum(rows * inner * columns for rows, inner, columns in products)
    assert LAYER_KINDS[block.kind].macs(block.values) == expected


@pytest.mark.parametrize(
    ("name", "smallest", "largest"),
    [  # AutoDistil's encoders (arXiv:2201.12507) with heads of 64 and without a pooler
        ("bert-tiny", (5_161_984, 128), (13_453_552, 224)),
        ("bert-small", (15_055_296, 256), (33_698_880, 352)),
        ("bert-base", (41_539_344, 544), (82_883_328, 640)),
    ],
)
def test_autodistils_ends(name, smallest, largest):
    space = build_space(name)
    found = network_costs(space).num_params.tolist()
    assert space.num_architectures == 256
    for params, (encoder, hidden) in zip(found, (smallest, largest), strict=True):
        pooler, head = hidden * hidden + hidden, 2 * hidden + 2
        assert params == encoder + pooler + head


def test_autodisproxy_by_the_same_kinds():
    """The network that AutoDistil released: 10 heads of 16, and 6.88M parameters by its card."""
    preset = dataclasses.replace(
        TINY, layers=(7,), hidden_sizes=(160,), ratios=(3.5,), heads=(10,), head_size=16
    )
    space = bert_space(preset, num_classes=2, vocabulary=30522, length=128)
    params = space.layers.costs(space.largest()).row(0)["num_params"]
    assert params - (2 * 160 + 2) == 6_977_040


# --- what the space builds ------------------------------------------------------------------------


def expected_layers(preset, values, num_classes, vocabulary, length):
    """The layers of one architecture, walked in plain Python."""
    hidden = values["hidden"]
    common = {"tokens": length, "hidden_size": hidden}
    tables = {"vocabulary": vocabulary, "positions": preset.positions, "token_types": 2}
    block = {
        "heads": values["heads"], "head_size": preset.head_size, "order": "post", "norm": "layer",
        "activation": "gelu", "feed_forward_size": int(hidden * values["ratio"]),
    }  # fmt: skip
    head = {"norm": "none", "pooler": "tanh", "num_classes": num_classes}
    return [
        ("embedding", LayerSpec.of("text_embedding", common | tables | {"norm": "layer"})),
        ("attention_mask", LayerSpec.of("attention_mask", {"tokens": length})),
        *(
            (f"layer{i + 1}", LayerSpec.of("masked_transformer_block", common | block))
            for i in range(values["layers"])
        ),
        ("classifier", LayerSpec.of("token_classifier", common | head)),
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_layers_follow_the_architecture(name):
    space = build_space(name, num_classes=5, vocabulary=99, length=17)
    for genome in space.sample(20, np.random.default_rng(0)):
        values = dict(space.decode(genome).values)
        assert space.layers.layers(genome) == expected_layers(PRESETS[name], values, 5, 99, 17)


def test_inputs_are_ids_and_mask():
    space = mini()
    assert space.modality == "tokens"
    assert space.settings == {"num_classes": 3, "vocabulary": 60, "length": 12}
    inputs = space.layers.network(space.smallest()).inputs
    assert list(inputs) == ["ids", "mask"]
    assert {(spec.shape, spec.dtype, spec.free) for spec in inputs.values()} == {
        ((12,), "int64", ())
    }


def subnet_of(space, seed=0, **values):
    supernet = Supernet(space)
    randomise(supernet, seed)
    return supernet.extract(space.architecture(values)).eval()


def test_subnet_equals_torchs_own_encoder():
    subnet = subnet_of(mini(), layers=2, hidden=64, ratio=2.0, heads=4)  # 4 heads of 16: 64
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 60, (3, 12), generator=generator)
    mask = (torch.arange(12) < torch.tensor([[12], [5], [1]])).long()
    with torch.no_grad():
        tables = subnet.embedding
        hidden = tables.words.weight[ids] + tables.positions.weight[:12]
        hidden = tables.norm(hidden + tables.token_types.weight[0])
        for name in ("layer1", "layer2"):
            layer = torch_layer(getattr(subnet, name), 4, 1e-12, is_pre=False)
            hidden = layer(hidden, src_key_padding_mask=mask == 0)
        head = subnet.classifier
        expected = head.logits(torch.tanh(head.pooler(hidden[:, 0])))
        found = subnet(ids, mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- masks ----------------------------------------------------------------------------------------


def session_of(subnet):
    space = mini()
    inputs = space.layers.network(space.smallest()).inputs
    return onnx_session(onnx_model(subnet, inputs).SerializeToString())


def test_ids_under_the_mask_change_nothing():
    subnet = subnet_of(mini(), layers=3, hidden=96, ratio=3.0, heads=4)
    generator = torch.Generator().manual_seed(0)
    ids, others = (torch.randint(0, 60, (6, 12), generator=generator) for _ in range(2))
    mask = (torch.arange(12) < torch.tensor([[1], [3], [6], [11], [12], [2]])).long()
    mask[1] = torch.tensor([1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0])  # holes are hidden too
    changed = torch.where(mask == 1, ids, others)
    assert (changed != ids).any()
    with torch.no_grad():
        before, after = subnet(ids, mask), subnet(changed, mask)
        unmasked = subnet(changed, torch.ones_like(mask))
    assert torch.equal(before, after)
    assert (before[:4] - unmasked[:4]).abs().max() > 1e-3
    session = session_of(subnet)
    (first,), (second,) = (
        session.run(None, {"ids": given.numpy(), "mask": mask.numpy()}) for given in (ids, changed)
    )
    np.testing.assert_array_equal(first, second)


def test_a_mask_of_zeros_gives_numbers():
    subnet = subnet_of(mini(), layers=2, hidden=48, ratio=2.0, heads=2)
    ids, mask = torch.arange(24).reshape(2, 12), torch.zeros(2, 12, dtype=torch.int64)
    mask[1, 0] = 1
    with torch.no_grad():
        expected = subnet(ids, mask)
    (found,) = session_of(subnet).run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
    assert expected.isfinite().all()
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_small_preset_learns():
    space = build_space("bert-mini", num_classes=2, vocabulary=20, length=8)
    ids = torch.randint(0, 20, (64, 8), generator=torch.Generator().manual_seed(0))
    labels = (ids < 5).any(dim=1).long()
    losses = losses_in_training(space, (ids, torch.ones_like(ids)), labels)
    assert losses[0] < 3
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_fifty_architectures():
    space = mini()
    check_subnets(space, space.sample_distinct(50, np.random.default_rng(0)))


# --- bad input ------------------------------------------------------------------------------------


def test_texts_longer_than_the_positions_are_refused():
    assert build_space("bert-mini", length=512).settings["length"] == 512
    with pytest.raises(InputError, match="bert-mini has 512 positions, got texts of length 513"):
        build_space("bert-mini", length=513)


@pytest.mark.parametrize("name", ["num_classes", "vocabulary", "length"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(InputError, match=f"at least 1, got .*'{name}': 0"):
        build_space("bert-mini", **{name: 0})


@pytest.mark.parametrize("field", ["layers", "hidden_sizes", "ratios", "heads"])
def test_options_must_ascend(field):
    preset = dataclasses.replace(MINI, **{field: getattr(MINI, field)[::-1]})
    with pytest.raises(InputError, match="must ascend"):
        bert_space(preset, num_classes=2, vocabulary=60, length=12)

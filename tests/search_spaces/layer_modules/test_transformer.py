import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from search_spaces import LayerSpec
from search_spaces.layer_kinds.transformer import TRANSFORMERS
from search_spaces.layer_modules import layer_module
from search_spaces.layer_modules.transformer import TRANSFORMERS as MODULES
from tests.contracts.elastic_contract import assert_formulas_equal_counts, inputs_of
from tests.contracts.supernet_contract import randomise

BLOCK = {"norm": "layer", "order": "pre", "activation": "gelu"}
BLOCKS = ("transformer_block", "masked_transformer_block")


def block(kind="transformer_block", **fields):
    return LayerSpec.of(kind, BLOCK | fields)


def classifier(**fields):
    return LayerSpec.of("token_classifier", {"norm": "none", "pooler": "none"} | fields)


# The peak lies in another operation each time: wide tokens, wide heads, wide insides, long masks.
SPECS = [
    *(
        block(
            kind, tokens=tokens, hidden_size=hidden, heads=heads, head_size=2,
            feed_forward_size=inner, order=order, norm=norm,
        )
        for kind, hidden, heads, inner, (tokens, order, norm) in itertools.product(
            BLOCKS, (3, 16), (1, 4), (1, 40), ((5, "pre", "layer"), (5, "post", "layer"))
        )
    ),
    *(
        block(
            kind, tokens=1, hidden_size=4, heads=1, head_size=3, feed_forward_size=6,
            order=order, norm="rms",
        )
        for kind, order in itertools.product(BLOCKS, ("pre", "post"))
    ),
    *(
        LayerSpec.of(
            "patch_embedding",
            {"in_channels": channels, "height": 8, "width": 12, "patch_size": patch,
             "hidden_size": hidden},
        )
        for channels, patch, hidden in itertools.product((1, 3), (2, 4), (1, 5, 16))
    ),
    *(
        LayerSpec.of(
            "text_embedding",
            {"vocabulary": 11, "positions": positions, "token_types": types, "tokens": 5,
             "hidden_size": hidden, "norm": norm},
        )
        for positions, types, hidden, norm in itertools.product(
            (5, 9), (1, 2), (6,), ("layer", "none")
        )
    ),
    *(LayerSpec.of("attention_mask", {"tokens": tokens}) for tokens in (1, 7)),
    *(
        classifier(tokens=tokens, hidden_size=6, num_classes=classes, norm=norm, pooler=pooler)
        for tokens, classes, norm, pooler in itertools.product(
            (1, 9), (1, 30), ("none", "layer", "rms"), ("none", "tanh")
        )
    ),
]  # fmt: skip


def random_module(spec, seed=0):
    module = layer_module(spec).eval()
    randomise(module, seed)
    return module


def test_every_kind_is_tried():
    assert {spec.kind for spec in SPECS} == set(TRANSFORMERS) == set(MODULES)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_formulas_equal_what_torch_does(kind):
    for spec in SPECS:
        if spec.kind == kind:
            assert_formulas_equal_counts(spec)


# --- blocks ---------------------------------------------------------------------------------------


def by_hand(weights, inputs, mask, heads, head_size, order, epsilon):
    """A block written out, head by head and with explicit softmax."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(x):
        query, key, value = (linear(f"attention.{name}", x) for name in ("query", "key", "value"))
        mixed = []
        for head in range(heads):
            part = slice(head * head_size, (head + 1) * head_size)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / head_size**0.5
            if mask is not None:
                scores = scores.masked_fill(mask[:, None] == 0, -torch.inf)
            mixed.append(scores.softmax(-1) @ value[..., part])
        return linear("attention.output", torch.cat(mixed, -1))

    def feed_forward(x):
        hidden = linear("expand", x)
        return linear("contract", hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)

    if order == "pre":
        hidden = inputs + attention(norm("attention_norm", inputs))
        return hidden + feed_forward(norm("feed_forward_norm", hidden))
    hidden = norm("attention_norm", inputs + attention(inputs))
    return norm("feed_forward_norm", hidden + feed_forward(hidden))


@pytest.mark.parametrize(("order", "epsilon"), [("pre", 1e-6), ("post", 1e-12)])
@pytest.mark.parametrize("kind", BLOCKS)
def test_block_equals_one_written_by_hand(kind, order, epsilon):
    spec = block(
        kind, tokens=5, hidden_size=6, heads=3, head_size=4, feed_forward_size=7, order=order
    )
    module, inputs = random_module(spec), torch.randn(4, 5, 6)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]])
    is_masked = kind == "masked_transformer_block"
    extra = (layer_module(LayerSpec.of("attention_mask", {"tokens": 5}))(mask),)
    weights = dict(module.named_parameters())
    with torch.no_grad():
        expected = by_hand(weights, inputs, mask if is_masked else None, 3, 4, order, epsilon)
        found = module(inputs, *(extra if is_masked else ()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_pre_and_post_take_words_that_exist():
    fields = {"tokens": 2, "hidden_size": 2, "heads": 1, "head_size": 2, "feed_forward_size": 2}
    with pytest.raises(KeyError):
        layer_module(block(order="before", **fields))
    with pytest.raises(KeyError):
        layer_module(block(norm="batch", **fields))


def test_rms_norm_does_not_centre():
    fields = {"tokens": 2, "hidden_size": 8, "heads": 1, "head_size": 2, "feed_forward_size": 2}
    kinds = [type(layer_module(block(norm=word, **fields)).attention_norm) for word in NORM_WORDS]
    assert kinds == [nn.LayerNorm, nn.RMSNorm]


NORM_WORDS = ("layer", "rms")


# --- masks ----------------------------------------------------------------------------------------


def test_hidden_tokens_have_no_influence():
    spec = block(
        "masked_transformer_block", tokens=6, hidden_size=8, heads=2, head_size=4,
        feed_forward_size=8, order="post",
    )  # fmt: skip
    module, mask_layer = (
        random_module(spec),
        layer_module(LayerSpec.of("attention_mask", {"tokens": 6})),
    )
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1]])
    inputs = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    changed = torch.where(mask[:, :, None] == 1, inputs, 5 * inputs.flip(0) + 3)
    with torch.no_grad():
        before, after = (module(x, mask_layer(mask)) for x in (inputs, changed))
    assert torch.equal(before[mask == 1], after[mask == 1])
    assert (before[mask == 0] != after[mask == 0]).any()


def test_mask_of_zeros_is_finite_in_half_precision_too():
    mask = layer_module(LayerSpec.of("attention_mask", {"tokens": 3}))(torch.zeros(2, 3).long())
    assert mask.shape == (2, 1, 1, 3)
    assert mask.half().isfinite().all()
    spec = block(
        "masked_transformer_block", tokens=3, hidden_size=4, heads=1, head_size=2,
        feed_forward_size=8,
    )  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16):
        outputs = random_module(spec).to(dtype)(torch.randn(2, 3, 4, dtype=dtype), mask)
        assert outputs.dtype == dtype
        assert outputs.isfinite().all()


# --- embeddings and classifiers -------------------------------------------------------------------


def test_patches_are_tokens_in_reading_order():
    fields = {"in_channels": 2, "height": 4, "width": 6, "patch_size": 2, "hidden_size": 5}
    module = random_module(LayerSpec.of("patch_embedding", fields))
    images = torch.randn(3, 2, 4, 6)
    weights = dict(module.named_parameters())
    tokens = [weights["class_token"].expand(3, -1)]
    for y, x in itertools.product((0, 2), (0, 2, 4)):
        patch = images[:, :, y : y + 2, x : x + 2].flatten(1)
        kernel = weights["patches.weight"].flatten(1)
        tokens.append(patch @ kernel.T + weights["patches.bias"])
    expected = torch.stack(tokens, dim=1) + weights["positions"]
    torch.testing.assert_close(module(images), expected, rtol=1e-5, atol=1e-5)


def test_text_embedding_sums_word_position_and_first_type():
    fields = {"vocabulary": 9, "positions": 7, "token_types": 2, "tokens": 4, "hidden_size": 6}
    module = random_module(LayerSpec.of("text_embedding", fields | {"norm": "layer"}))
    ids = torch.tensor([[0, 8, 3, 3], [5, 5, 1, 0]])
    words, positions, types = (
        getattr(module, name).weight for name in ("words", "positions", "token_types")
    )
    rows = [[words[i] + positions[p] + types[0] for p, i in enumerate(row)] for row in ids]
    stacked = torch.stack([torch.stack(row) for row in rows])
    expected = F.layer_norm(stacked, (6,), module.norm.weight, module.norm.bias, 1e-12)
    torch.testing.assert_close(module(ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooler", ["none", "tanh"])
def test_classifier_reads_the_first_token_alone(pooler):
    spec = classifier(tokens=4, hidden_size=6, num_classes=3, norm="layer", pooler=pooler)
    module, inputs = random_module(spec), torch.randn(2, 4, 6)
    first = F.layer_norm(inputs[:, 0], (6,), module.norm.weight, module.norm.bias, 1e-6)
    if pooler == "tanh":
        first = torch.tanh(first @ module.pooler.weight.T + module.pooler.bias)
    expected = first @ module.logits.weight.T + module.logits.bias
    torch.testing.assert_close(module(inputs), expected, rtol=1e-5, atol=1e-5)


def test_inputs_stay_as_they_are():
    for spec in SPECS[::7]:
        inputs = inputs_of(spec, 2, seed=0)
        before = [tensor.clone() for tensor in inputs]
        fx.symbolic_trace(layer_module(spec))(*inputs)
        assert all(map(torch.equal, inputs, before))

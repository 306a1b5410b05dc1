"""Attention, norms over features, embeddings: ONNX Runtime against torch."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from search_spaces import LayerSpec, TensorSpec
from search_spaces.layer_modules import layer_module
from tests.contracts.inputs import random_inputs
from tests.contracts.onnx_parity import assert_same_in_onnx, operations
from tests.contracts.supernet_contract import randomise

TOKENS = TensorSpec((5, 6))
IDS = TensorSpec((5,), "int64")


class Calls(nn.Module):
    """Runs `function(self, *inputs)` of a stated number of inputs on named submodules."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs):
        return self.function(self, inputs)


def assert_same(module, *specs, vocabulary=0):
    """Compare at random weights; return the ONNX model."""
    randomise(module, seed=0)
    inputs = {f"input{i}": spec for i, spec in enumerate(specs)}
    draw = partial(random_inputs, inputs, vocabulary=vocabulary)
    return assert_same_in_onnx(module.eval(), inputs, draw)


BLOCK = {
    "tokens": 5, "hidden_size": 6, "heads": 2, "head_size": 4, "feed_forward_size": 7,
    "activation": "gelu",
}  # fmt: skip
TEXT = {"vocabulary": 11, "positions": 9, "token_types": 2, "tokens": 5, "hidden_size": 6}
PATCHES = {"in_channels": 3, "height": 4, "width": 8, "patch_size": 2, "hidden_size": 6}
CLASSIFIER = {"tokens": 5, "hidden_size": 6, "num_classes": 3}
SPECS = [
    *(
        LayerSpec.of(kind, BLOCK | {"order": order, "norm": norm})
        for kind in ("transformer_block", "masked_transformer_block")
        for order in ("pre", "post")
        for norm in ("layer", "rms")
    ),
    *(LayerSpec.of("text_embedding", TEXT | {"norm": norm}) for norm in ("layer", "none")),
    LayerSpec.of("text_embedding", TEXT | {"norm": "rms", "positions": 5}),
    LayerSpec.of("patch_embedding", PATCHES),
    LayerSpec.of("patch_embedding", PATCHES | {"patch_size": 4, "in_channels": 1}),
    LayerSpec.of("attention_mask", {"tokens": 5}),
    *(
        LayerSpec.of("token_classifier", CLASSIFIER | {"norm": norm, "pooler": pooler})
        for norm in ("none", "layer", "rms")
        for pooler in ("none", "tanh")
    ),
]


@pytest.mark.parametrize(
    "spec", SPECS, ids=lambda s: "-".join([s.kind, *map(str, s.values.values())])
)
def test_every_kind_of_layer_computes_the_same(spec):
    assert_same(layer_module(spec), *spec.inputs, vocabulary=spec.values.get("vocabulary", 0))


def heads(features):
    return features.unflatten(2, (2, 3)).permute(0, 2, 1, 3)


MODULES = {
    "layer norm": nn.LayerNorm(6, eps=0.1),
    "layer norm over two axes": nn.LayerNorm((5, 6)),
    "layer norm without bias": nn.LayerNorm(6, bias=False),
    "rms norm": nn.RMSNorm(6, eps=0.1),
    "rms norm of the default epsilon": nn.RMSNorm(6),
    "gelu": nn.GELU(),
    "tanh": nn.Tanh(),
    "attention": Calls(
        lambda self, x: F.scaled_dot_product_attention(
            heads(self.query(x)), heads(x), heads(x), scale=0.3
        ),
        query=nn.Linear(6, 6),
    ),
    "number minus tensor": Calls(lambda self, x: 1.5 - x),
    "tensor minus number": Calls(lambda self, x: x - 1.5),
    "tensor minus tensor": Calls(lambda self, x: x - x * x),
    "difference": Calls(lambda self, x: torch.sub(x * x, x)),
    "number times tensor": Calls(lambda self, x: 3 * x),
    "number plus tensor": Calls(lambda self, x: 3 + x),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions(name):
    assert_same(nn.Sequential(MODULES[name]), TOKENS)


def test_embedding_takes_ids():
    model = assert_same(nn.Sequential(nn.Embedding(4, 3)), IDS, vocabulary=4)
    assert operations(model) == ["Gather"]


def attention(**settings):
    return Calls(
        lambda self, x: F.scaled_dot_product_attention(heads(x), heads(x), heads(x), **settings)
    )


FORMS = {
    "without a scale": attention(),
    "causal": attention(scale=0.5, is_causal=True),
    "causal without a scale": attention(is_causal=True),
    "of one head": Calls(lambda self, x: F.scaled_dot_product_attention(x, x, x, scale=0.4)),
    "causal of one head": Calls(
        lambda self, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)
    ),
    "causal, of fewer queries": Calls(
        lambda self, x: F.scaled_dot_product_attention(
            heads(x).narrow(2, 0, 3), heads(x), heads(x), is_causal=True, scale=0.5
        )
    ),
    "masked": Calls(
        lambda self, x: F.scaled_dot_product_attention(
            heads(x), heads(x), heads(x), attn_mask=self.mask(x).unsqueeze(1), scale=0.5
        ),
        mask=nn.Linear(6, 5),
    ),
    "masked by position": Calls(
        lambda self, x: F.scaled_dot_product_attention(
            heads(x), heads(x), heads(x), self.mask(x).unsqueeze(1), scale=0.5
        ),
        mask=nn.Linear(6, 5),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_attention(name):
    assert_same(nn.Sequential(FORMS[name]), TOKENS)


class Allowed(nn.Module):
    """Truth values where others add numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("allowed", torch.ones(5, 5).tril().bool())

    def forward(self, x):
        return F.scaled_dot_product_attention(
            heads(x), heads(x), heads(x), attn_mask=self.allowed, scale=0.5
        )


UNKNOWN = {
    "truth values": Allowed(),
    "attention with dropout": attention(scale=0.5, dropout_p=0.1),
    "grouped attention": attention(scale=0.5, enable_gqa=True),
    "rms norm without weights": nn.Sequential(nn.RMSNorm(6, elementwise_affine=False)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_forms_are_refused(name):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(UNKNOWN[name].eval(), {"input": TOKENS})


def test_rows_of_limited_length_are_refused():
    with pytest.raises(UnknownOperationError, match="limited length"):
        emitted_model(nn.Sequential(nn.Embedding(4, 3, max_norm=1.0)), {"input": IDS})

"""The contract of elastic layers on every kind that there is."""

from typing import Any

import pytest

from search_spaces import LayerSpec
from search_spaces.layer_kinds import LAYER_KINDS
from tests.contracts.elastic_contract import ElasticContract

IMAGE = {"height": 9, "width": 6}
SEQUENCE = {"frames": 11}

# Kind -> fields of a few layers that one slot could hold, the smallest first, the largest last.
# Sizes differ from one another, so that none stands in for another.
FIELDS: dict[str, list[dict[str, Any]]] = {
    "conv_norm": [
        IMAGE | {"in_channels": source, "out_channels": result, "kernel": kernel, "stride": stride,
                 "activation": activation}
        for source, result, kernel, stride, activation in (
            (3, 5, 1, 1, "relu"), (4, 6, 3, 2, "hard_swish"), (4, 9, 3, 1, "relu"),
            (6, 12, 5, 2, "none"),
        )
    ],
    "convolution": [
        IMAGE | {"in_channels": source, "out_channels": result, "kernel": kernel, "stride": stride}
        for source, result, kernel, stride in ((3, 5, 1, 1), (4, 6, 3, 2), (6, 12, 5, 1))
    ],
    "inverted_residual": [
        IMAGE | {"in_channels": source, "mid_channels": mid, "out_channels": result,
                 "kernel": kernel, "stride": stride, "squeeze_channels": squeezed,
                 "activation": "hard_swish"}
        for source, mid, result, kernel, stride, squeezed in (
            (4, 8, 4, 3, 1, 2), (4, 4, 6, 3, 1, 0), (4, 12, 6, 5, 2, 3), (6, 16, 6, 5, 1, 0),
            (6, 24, 8, 5, 1, 4),
        )
    ],
    "classifier": [
        IMAGE | {"in_channels": source, "hidden_channels": hidden, "num_classes": 5,
                 "activation": "hard_swish"}
        for source, hidden in ((6, 7), (8, 0), (9, 12))
    ],
    **{
        kind: [
            IMAGE | {"in_channels": source, "mid_channels": mid, "out_channels": result,
                     "stride": stride, "shortcut": shortcut, "activation": "relu"}
            for source, mid, result, stride, shortcut in (
                (5, 3, 5, 1, "identity"), (5, 4, 6, 2, "projection"), (6, 8, 6, 1, "identity"),
                (6, 8, 9, 1, "projection"),
            )
        ]
        for kind in ("bottleneck", "basic_block")
    },
    "residual_convolution": [
        IMAGE | {"in_channels": channels, "kernel": kernel, "activation": "relu"}
        for channels, kernel in ((3, 1), (4, 3), (6, 5))
    ],
    "max_pool": [
        IMAGE | {"in_channels": channels, "kernel": 3, "stride": stride}
        for channels, stride in ((3, 1), (6, 2))
    ],
    "cell_operation": [
        {"height": 8, "width": 6, "channels": channels, "operation": operation, "stride": stride}
        for channels, operation, stride in (
            (4, "max_pool_3x3", 1), (4, "avg_pool_3x3", 2), (4, "skip_connect", 2),
            (4, "nor_conv_3x3", 1), (4, "dil_conv_5x5", 2), (4, "sep_conv_5x5", 1),
            (6, "sep_conv_5x5", 1),
        )
    ],
    "relu_conv_norm": [
        IMAGE | {"in_channels": source, "out_channels": result, "kernel": kernel, "stride": stride}
        for source, result, kernel, stride in ((3, 5, 1, 1), (4, 6, 3, 2), (6, 12, 5, 1))
    ],
    **{
        kind: [
            {"height": 8, "width": 6, "in_channels": source, "out_channels": result}
            for source, result in ((3, 4), (4, 4), (6, 8))
        ]
        for kind in ("factorized_reduce", "reduction_block")
    },
    **{
        kind: [
            IMAGE | {"channels": channels, "num_inputs": num_inputs}
            for channels, num_inputs in ((4, 2), (6, 2), (6, 4))
        ]
        for kind in ("sum", "concat")
    },
    "norm_relu": [IMAGE | {"channels": channels} for channels in (4, 6)],
    **{
        kind: [
            {"tokens": 5, "hidden_size": hidden, "heads": heads, "head_size": 4, "order": order,
             "feed_forward_size": inner, "norm": norm, "activation": "gelu"}
            for hidden, heads, inner, order, norm in (
                (6, 1, 7, "pre", "layer"), (6, 3, 20, "post", "rms"), (8, 2, 7, "post", "layer"),
                (16, 3, 20, "pre", "layer"),
            )
        ]
        for kind in ("transformer_block", "masked_transformer_block")
    },
    "patch_embedding": [
        {"in_channels": 3, "height": 8, "width": 12, "patch_size": 4, "hidden_size": hidden}
        for hidden in (5, 6, 9)
    ],
    "text_embedding": [
        {"tokens": 5, "vocabulary": 11, "positions": 7, "token_types": 2, "hidden_size": hidden,
         "norm": "layer"}
        for hidden in (4, 6, 9)
    ],
    "attention_mask": [{"tokens": tokens} for tokens in (5, 8)],
    "token_classifier": [
        {"tokens": 5, "hidden_size": hidden, "norm": norm, "pooler": pooler, "num_classes": 7}
        for hidden, norm, pooler in (
            (4, "none", "none"), (6, "rms", "none"), (6, "layer", "tanh"), (9, "layer", "tanh"),
        )
    ],
    "conv_norm_1d": [
        SEQUENCE | {"in_channels": source, "out_channels": result, "kernel": kernel,
                    "dilation": dilation}
        for source, result, kernel, dilation in ((3, 5, 1, 1), (4, 6, 3, 3), (6, 12, 5, 2))
    ],
    "pointwise_1d": [
        SEQUENCE | {"in_channels": parts * channels, "parts": parts, "out_channels": result}
        for parts, channels, result in ((2, 4, 5), (2, 8, 6), (3, 5, 7), (3, 8, 9))
    ],
    "res2_block": [
        SEQUENCE | {"in_channels": channels, "mid_channels": mid, "scale": 4, "kernel": kernel,
                    "dilation": dilation, "squeeze_channels": channels // 2}
        for channels, mid, kernel, dilation in (
            (6, 8, 1, 2), (8, 16, 3, 2), (40, 8, 3, 3), (6, 24, 3, 4), (40, 24, 5, 2),
        )
    ],
    "sum_1d": [
        SEQUENCE | {"channels": channels, "num_inputs": num_inputs}
        for channels, num_inputs in ((4, 2), (6, 2), (6, 4))
    ],
    "concat_1d": [
        SEQUENCE | {"channels": channels, "num_inputs": num_inputs}
        for channels, num_inputs in ((4, 2), (6, 3), (6, 4))
    ],
    "statistics_pooling": [
        {"in_channels": channels, "frames": frames}
        for channels, frames in ((4, 7), (6, 2), (9, 12))
    ],
    "attentive_statistics_pooling": [
        {"in_channels": channels, "frames": frames, "attention_channels": attention}
        for channels, frames, attention in ((4, 7, 3), (6, 2, 20), (9, 12, 20))
    ],
    "pooled_embedding": [
        {"in_features": 2 * channels, "parts": 2, "out_features": result}
        for channels, result in ((3, 4), (5, 4), (8, 6))
    ],
    "sequence_classifier": [
        {"in_features": features, "num_classes": 5} for features in (4, 6, 9)
    ],
}  # fmt: skip


class TestElasticLayers(ElasticContract):
    @pytest.fixture(params=sorted(set(LAYER_KINDS) - {"program"}))  # in `conversion`
    def specs(self, request) -> list[LayerSpec]:
        if request.param not in FIELDS:
            pytest.fail(f"no layers of {request.param!r}: add some to FIELDS in {__file__}")
        return [LayerSpec.of(request.param, fields) for fields in FIELDS[request.param]]


def test_only_kinds_that_there_are_have_entries():
    assert set(FIELDS) <= set(LAYER_KINDS)

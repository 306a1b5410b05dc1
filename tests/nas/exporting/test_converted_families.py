"""Every family's file in another precision is sound and holds listed operators alone."""

import pytest

from nas.exporting.graph import check_graph
from nas.exporting.model_file import at_opset
from nas.exporting.plan_model import check_precision, read_model
from nas.exporting.precisions import PRECISIONS, Settings
from tests.nas.exporting.precisions.networks import agreement, small_network

FAMILIES = (
    "mobilenet-digits",
    "resnet-digits",
    "vit-digits",
    "bert-mini",
    "tdnn-digits",
    "nasnet-digits",
    "nasbench201-digits",
    "nasbench-macro-digits",
)
HERE, ELSEWHERE = "CPUExecutionProvider", None
KINDS = {
    "fp16 here": ("fp16", HERE, None, 17),
    "int8 here": ("int8", HERE, None, 17),
    "int8 of a later opset": ("int8", HERE, None, 20),
    "int8 for TensorRT": ("int8", ELSEWHERE, "tensorrt", 17),
    "bf16 for TensorRT": ("bf16", ELSEWHERE, None, 22),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("precision", "provider", "scheme", "opset"), KINDS.values(), ids=KINDS)
def test_a_converted_file_is_sound(family, precision, provider, scheme, opset):
    model, samples = small_network(family)
    settings = Settings(
        evaluate=agreement(model, samples), provider=provider, scheme=scheme, methods=("min-max",)
    )
    found = PRECISIONS[precision](at_opset(model, opset), samples, settings).model
    check_graph(found)
    if provider is ELSEWHERE:
        check_precision(read_model(found), precision)

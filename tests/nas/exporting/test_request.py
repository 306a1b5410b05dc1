"""What an export is asked for, read before anything heavy."""

import subprocess
import sys

import pytest

from hardware_profiles.runtimes.tensorrt_options import BatchRange
from nas.exporting.model_options import ModelOptions
from nas.exporting.request import PLAIN_REQUEST, read_request
from search_spaces import InputError


def test_the_plain_file_alone_is_no_request():
    assert read_request({}) == PLAIN_REQUEST
    assert read_request({"precision": "fp32", "format": "onnx"}).is_plain


def test_a_precision_is_held_against_fp32():
    request = read_request({"precision": "int8", "format": "ort"})
    assert [one.file_name for one in request.compared] == ["model.ort", "model.int8.ort"]
    assert request.named == ("int8",)
    assert not request.files


def test_all_precisions_stay_where_they_pay():
    request = read_request({"precision": "all"})
    assert [one.precision for one in request.compared] == ["fp32", "fp16", "bf16", "int8"]
    assert request.named == ("fp32",)


def test_a_list_is_asked_for_by_name():
    request = read_request({"precision": "int8, fp16,int8", "batch": 2})
    names = ["model.batch2.onnx", "model.int8.batch2.onnx", "model.fp16.batch2.onnx"]
    assert [one.file_name for one in request.compared] == names
    assert request.named == ("int8", "fp16")


def test_other_options_are_of_one_fp32_file():
    request = read_request({"batch": 2})
    assert request.files == (ModelOptions(batch=2),)
    assert not request.compared


def test_an_engine_has_a_file_that_it_is_built_from():
    request = read_request(
        {"format": "tensorrt", "precision": "int8", "batch_range": "1,8,32", "workspace_mb": 64}
    )
    engine = request.engine
    assert engine is not None
    assert (engine.file_name, engine.source_name) == (
        "model.int8.plan",
        "model.int8.tensorrt.onnx",
    )
    assert engine.options.batch == BatchRange(least=1, typical=8, most=32)
    assert engine.options.workspace_mb == 64
    plain = read_request({"format": "tensorrt"}).engine
    assert plain is not None
    assert (plain.file_name, plain.source_name) == ("model.plan", "model.onnx")


def test_bf16_engines_are_of_an_opset_that_has_convolutions_in_it():
    engine = read_request({"format": "tensorrt", "precision": "bf16"}).engine
    assert engine is not None
    assert engine.model.opset == 22
    assert engine.file_name == "model.bf16.opset22.plan"
    assert engine.source_name == "model.bf16.opset22.tensorrt.onnx"


REFUSED = {
    "a precision": ({"precision": "int3"}, "fp32, fp16, bf16, int8"),
    "one of a list": ({"precision": "int8,int3"}, "fp32, fp16, bf16, int8"),
    "an option": ({"opest": 18}, "opset"),
    "an engine's option": ({"batch_range": "8"}, "--format tensorrt"),
    "a batch of an engine": ({"format": "tensorrt", "batch": 4}, "--batch-range"),
    "pixels of an engine": ({"format": "tensorrt", "preprocessing": "graph"}, "prepared inputs"),
    "several engines": ({"format": "tensorrt", "precision": "all"}, "one precision"),
    "a range": ({"format": "tensorrt", "batch_range": "8,1,2"}, "least <= typical <= most"),
    "a workspace": ({"format": "tensorrt", "workspace_mb": 0}, "workspace_mb"),
    "GPUs": ({"format": "tensorrt", "hardware_compatible": "any"}, "ampere-plus"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        read_request(options)


def test_it_is_read_without_torch_and_onnx():
    code = (
        "import sys; from nas.exporting.request import read_request; "
        "read_request({'format': 'tensorrt'}); "
        "assert not {'torch', 'onnx', 'onnxruntime', 'tensorrt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)

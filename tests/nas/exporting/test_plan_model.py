"""What an ONNX file says of the engine that it becomes."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardware_profiles.runtimes.tensorrt import in_half_precision
from hardware_profiles.runtimes.tensorrt_options import BatchRange
from nas.exporting.plan_model import carried_precision, check_precision, model_inputs, read_model
from search_spaces import InputError, TensorSpec
from tests.contracts.runtime_contract import small_workload

ONE = BatchRange.of(1)


def model_of(nodes, weights=(), shape=("batch", 3), kind=TensorProto.FLOAT):
    """x -> y, both of one shape and type."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "test", [values[0]], [values[1]], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weight(name, values, dtype):
    return numpy_helper.from_array(np.array(values, dtype), name)


def quantised(zero=0, zero_type=np.int8, bias=False):
    """x, quantised and dequantised."""
    weights = [weight("scale", 0.5, np.float32), weight("zero", zero, zero_type)]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d" if bias else "y"]),
    ]
    if bias:
        weights.append(weight("bias", [1, 2, 3], np.int32))
        nodes += [
            helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"]),
            helper.make_node("Add", ["d", "b"], ["y"]),
        ]
    return model_of(nodes, weights)


def cast(kind):
    return model_of(
        [
            helper.make_node("Cast", ["x"], ["c"], to=kind),
            helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
        ]
    )


PLAIN = read_model(small_workload().onnx())
HALF = read_model(in_half_precision(small_workload().onnx()))


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (PLAIN, "fp32"),
        (HALF, "fp16"),
        (cast(TensorProto.FLOAT16), "fp16"),
        (cast(TensorProto.BFLOAT16), "bf16"),
        (cast(TensorProto.INT64), "fp32"),
        (quantised(), "int8"),
        (
            model_of(
                [
                    helper.make_node("Constant", [], ["c"], value=weight("", [1.0], np.float16)),
                    helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
                    helper.make_node("Mul", ["x", "f"], ["y"]),
                ]
            ),
            "fp16",
        ),
    ],
    ids=["fp32", "fp16 weights", "fp16 casts", "bf16 casts", "integers", "int8", "constant"],
)
def test_a_file_carries_its_precision(model, precision):
    onnx.checker.check_model(model)
    assert carried_precision(model) == precision
    check_precision(model, precision)


def test_another_precision_than_the_stated_one_is_refused():
    with pytest.raises(InputError, match=r"expected a file in int8, got one in fp32: .*convert"):
        check_precision(PLAIN, "int8")
    with pytest.raises(InputError, match="expected a file in fp32, got one in fp16"):
        check_precision(HALF, "fp32")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (quantised(zero=3), "the zero point 'zero', which is no int8 0"),
        (quantised(zero=0, zero_type=np.uint8), "the zero point 'zero'"),
        (quantised(bias=True), "the int32 bias 'bias'"),
    ],
)
def test_int8_that_tensorrt_does_not_read_is_refused(model, words):
    onnx.checker.check_model(model)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        check_precision(model, "int8")
    assert 'the scheme "tensorrt"' in str(caught.value)


def test_inputs_are_those_of_the_file():
    found = model_inputs(PLAIN, BatchRange.parse("1,2,4"))
    assert found.sizes == {"input": (3, 12, 12)}
    assert found.free
    assert found.fixed_batch is None


def test_a_fixed_batch_is_the_only_one():
    fixed = model_of([helper.make_node("Relu", ["x"], ["y"])], shape=(4, 3))
    found = model_inputs(fixed, BatchRange.of(4))
    assert (found.sizes, found.free, found.fixed_batch) == ({"x": (3,)}, False, 4)
    with pytest.raises(InputError, match="fixed batch of 4, expected 1"):
        model_inputs(fixed, ONE)


def test_other_free_sizes_have_to_be_stated():
    free = model_of([helper.make_node("Relu", ["x"], ["y"])], shape=("batch", 3, "length"))
    with pytest.raises(InputError, match="batch alone is free"):
        model_inputs(free, ONE)
    specs = {"x": TensorSpec((3, 20), "float32", free=(1,))}
    found = model_inputs(free, ONE, specs)
    assert (found.sizes, found.free) == ({"x": (3, 20)}, True)


def test_weights_that_are_listed_as_inputs_are_none():
    old = model_of([helper.make_node("Mul", ["x", "w"], ["y"])], [weight("w", [2.0], np.float32)])
    old.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    assert list(model_inputs(old, ONE).sizes) == ["x"]


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match="expected a serialised ONNX model"):
        read_model(b"\xffno model")

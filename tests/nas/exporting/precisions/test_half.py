import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.exporting.precisions import PRECISIONS, Settings
from nas.exporting.precisions.half_casts import with_casts
from search_spaces import InputError
from tests.nas.exporting.precisions.networks import (
    agreement,
    difference,
    kinds,
    logits,
    model_of,
    small_network,
)

ELSEWHERE = Settings(provider=None)


def weight_types(model: bytes) -> set[int]:
    return {one.data_type for one in onnx.load_from_string(model).graph.initializer}


def test_fp32_is_the_same_bytes():
    model, samples = small_network("resnet-digits")
    result = PRECISIONS["fp32"](model, samples, Settings())
    assert result.model == model
    assert result.precision == "fp32"


@pytest.mark.parametrize("name", ["resnet-digits", "mobilenet-digits", "bert-mini"])
def test_fp16_answers_nearly_as_fp32_does(name):
    model, samples = small_network(name)
    result = PRECISIONS["fp16"](model, samples, Settings(evaluate=agreement(model, samples)))
    assert 0 < difference(result.model, model, samples) < 0.02
    assert TensorProto.FLOAT16 in weight_types(result.model)
    assert TensorProto.FLOAT not in weight_types(result.model)
    assert len(result.model) < 0.8 * len(model)
    assert result.accuracy_before == 1
    assert result.accuracy_after > 0.9


def test_inputs_and_outputs_of_fp16_stay_fp32():
    model, samples = small_network("resnet-digits")
    before = onnx.load_from_string(model)
    after = onnx.load_from_string(PRECISIONS["fp16"](model, samples, Settings()).model)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert [(one.domain, one.version) for one in after.opset_import] == [("", 17)]
    assert after.ir_version == 8
    assert kinds(after.SerializeToString())["Cast"] == 2  # one at each edge
    onnx.checker.check_model(after, full_check=True)


def test_what_overflows_fp16_stays_fp32():
    weights = {
        "w1": np.full((8, 8), 1e4, np.float32),
        "w2": np.full((8, 8), 1e-6, np.float32),
        "w3": np.eye(8, dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="large"),
        helper.make_node("MatMul", ["a", "w2"], ["b"], name="small"),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("MatMul", ["c", "w3"], ["y"], name="last"),
    ]
    model = model_of(nodes, weights, ["batch", 8])
    samples = {"x": np.full((8, 8), 2.0, np.float32)}
    result = PRECISIONS["fp16"](model, samples, Settings())
    assert result.kept_float == ("large", "small")
    assert difference(result.model, model, samples) < 0.01
    assert weight_types(result.model) == {TensorProto.FLOAT, TensorProto.FLOAT16}


def test_a_network_that_overflows_everywhere_is_refused():
    weights = {"w": np.full((8, 8), 1e6, np.float32)}
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, ["batch", 8])
    with pytest.raises(InputError, match="every layer of this model overflows fp16"):
        PRECISIONS["fp16"](model, {"x": np.ones((8, 8), np.float32)}, Settings())


def test_bf16_is_refused_by_a_provider_that_lacks_it():
    model, samples = small_network("bert-mini")
    with pytest.raises(InputError, match=r"CPUExecutionProvider of ONNX Runtime .* in bf16"):
        PRECISIONS["bf16"](model, samples, Settings())


def test_bf16_of_convolutions_is_refused_where_the_opset_has_none():
    model, samples = small_network("resnet-digits")
    with pytest.raises(InputError, match="ONNX opset 17 does not define Conv"):
        PRECISIONS["bf16"](model, samples, Settings())


def test_bf16_for_another_device_is_a_sound_file():
    model, samples = small_network("bert-mini")
    result = PRECISIONS["bf16"](model, samples, ELSEWHERE)
    after = onnx.load_from_string(result.model)
    onnx.checker.check_model(after, full_check=True)
    assert TensorProto.BFLOAT16 in weight_types(result.model)
    assert result.accuracy_after is None


def test_weights_are_rounded_to_the_nearest_bf16():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.14159274, 1e-30], np.float32)
    model = onnx.load_from_string(
        model_of(
            [helper.make_node("Mul", ["x", "w"], ["y"], name="n")], {"w": values}, ["batch", 5]
        )
    )
    (stored,) = with_casts(model, (), TensorProto.BFLOAT16).graph.initializer
    found = numpy_helper.to_array(stored).astype(np.float32)
    np.testing.assert_array_equal(found[:3], [1.0, 1.0, 1.015625])  # ties to even
    np.testing.assert_allclose(found, values, rtol=2**-8)


def test_a_provider_that_computes_between_casts_is_named():
    model, samples = small_network("resnet-digits")
    result = PRECISIONS["fp16"](model, samples, Settings())
    native = "Conv" not in "".join(result.notes)  # on ARM it has kernels
    assert native or "computes them in fp32 between casts" in result.notes[0]


def test_an_absent_provider_is_refused():
    model, samples = small_network("resnet-digits")
    with pytest.raises(InputError, match="no NoSuchProvider"):
        PRECISIONS["fp16"](model, samples, Settings(provider="NoSuchProvider"))


def test_fp16_is_deterministic():
    model, samples = small_network("mobilenet-digits")
    one, two = (PRECISIONS["fp16"](model, samples, ELSEWHERE).model for _ in range(2))
    assert one == two
    assert np.isfinite(logits(one, samples)).all()

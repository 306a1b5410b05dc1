import logging
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from nas.exporting.precisions import PRECISIONS, Settings
from nas.exporting.precisions.int8 import to_int8
from nas.exporting.precisions.schemes import SCHEMES, scheme_of
from search_spaces import InputError
from tests.nas.exporting.precisions.networks import (
    agreement,
    chain_with_a_sensitive_layer,
    difference,
    kinds,
    logits,
    small_network,
    weight,
)

ROOT = Path(__file__).resolve().parents[4]


def settings(model, samples, **changes) -> Settings:
    given = {"methods": ("min-max",), "scheme": "x86-vnni", "max_drop": 1.0} | changes
    return Settings(evaluate=agreement(model, samples), **given)


def int8(name: str, **changes):
    model, samples = small_network(name)
    return to_int8(model, samples, settings(model, samples, **changes))


def types_of(model: bytes) -> dict[str, set[int]]:
    """Element types of what is dequantised: "weights" by the channel, "biases" and activations."""
    graph = onnx.load_from_string(model).graph
    weights = {one.name: one for one in graph.initializer}
    found: dict[str, set[int]] = {"weights": set(), "biases": set(), "activations": set()}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        stored = weights.get(node.input[0])
        if stored is None:
            found["activations"].add(weights[node.input[2]].data_type)
        else:
            found["biases" if len(stored.dims) < 2 else "weights"].add(stored.data_type)
    return found


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet-digits", "mobilenet-digits"])
@pytest.mark.parametrize("method", ["min-max", "entropy", "percentile"])
def test_outputs_lie_close_to_fp32(name, method):
    model, samples = small_network(name)
    result = int8(name, methods=(method,))
    assert result.precision == "int8"
    assert result.method == method
    # entropy cuts off what is rare, and random networks have no outliers to gain from that
    assert 0 < difference(result.model, model, samples) < (0.5 if method == "entropy" else 0.2)
    assert kinds(result.model)["DequantizeLinear"] > 4


@pytest.mark.parametrize(
    ("scheme", "activations", "biases"),
    [
        ("x86-vnni", TensorProto.UINT8, {TensorProto.INT32}),
        ("x86", TensorProto.UINT8, {TensorProto.INT32}),
        ("arm", TensorProto.INT8, {TensorProto.INT32}),
        ("tensorrt", TensorProto.INT8, set()),
    ],
)
def test_a_scheme_says_the_types(scheme, activations, biases):
    model, samples = small_network("resnet-digits")
    result = int8("resnet-digits", scheme=scheme)
    assert types_of(result.model) == {
        "weights": {TensorProto.INT8},
        "biases": biases,
        "activations": {activations},
    }
    assert result.scheme == scheme
    assert difference(result.model, model, samples) < 0.25


def test_weights_have_a_scale_for_every_output_channel():
    graph = onnx.load_from_string(int8("resnet-digits").model).graph
    stored = {one.name: one for one in graph.initializer}
    scales = [
        (stored[node.input[0]].dims[0], list(stored[node.input[1]].dims))
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and len(getattr(stored.get(node.input[0]), "dims", ())) == 4
    ]
    assert len(scales) > 2
    assert all(scale == [channels] for channels, scale in scales)


def test_without_vnni_weights_have_seven_bits():
    def greatest(scheme: str) -> int:
        graph = onnx.load_from_string(int8("resnet-digits", scheme=scheme).model).graph
        return max(
            int(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max())
            for one in graph.initializer
            if one.data_type == TensorProto.INT8 and len(one.dims) == 4
        )

    assert greatest("x86-vnni") == 127
    assert greatest("x86") == 64


def test_tensorrt_has_no_zero_points():
    graph = onnx.load_from_string(int8("resnet-digits", scheme="tensorrt").model).graph
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    points = [stored[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert not any(point.any() for point in points)


def test_the_file_keeps_its_opset_its_edges_and_its_properties():
    model, _ = small_network("resnet-digits")
    before, after = (onnx.load_from_string(one) for one in (model, int8("resnet-digits").model))
    assert [(one.domain, one.version) for one in after.opset_import] == [("", 17)]
    assert after.ir_version == 8
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert before.metadata_props
    onnx.checker.check_model(after, full_check=True)


def test_outputs_are_not_rounded_to_levels():
    graph = onnx.load_from_string(int8("resnet-digits").model).graph
    (maker,) = [node for node in graph.node if graph.output[0].name in node.output]
    assert maker.op_type in ("Gemm", "MatMul")


def test_inputs_of_whole_numbers_stay():
    model, samples = small_network("bert-mini")
    assert {array.dtype for array in samples.values()} & {np.dtype("int64")}
    result = to_int8(model, samples, settings(model, samples))
    assert difference(result.model, model, samples) < 0.2
    products = [n for n in onnx.load_from_string(result.model).graph.node if n.op_type == "MatMul"]
    assert products
    norms = kinds(result.model)["LayerNormalization"]
    assert norms == kinds(model)["LayerNormalization"]


# --- determinism, and nothing left behind ---------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes_in_every_process(tmp_path):
    program = (
        "from tests.nas.exporting.precisions.test_int8 import int8; from hashlib import sha256;"
        "print(sha256(int8('resnet-digits', methods=('min-max', 'percentile')).model).hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        found.add(subprocess.check_output(command, env=environment, cwd=ROOT, text=True).strip())
    here = int8("resnet-digits", methods=("min-max", "percentile")).model
    assert found == {sha256(here).hexdigest()}


def test_nothing_is_printed_logged_or_left_on_disk(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers, disabled = list(logging.getLogger().handlers), logging.root.manager.disable
    int8("mobilenet-digits", methods=("min-max", "entropy", "percentile"))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == disabled


# --- what is chosen -------------------------------------------------------------------------------


def test_the_method_with_the_best_accuracy_is_taken():
    model, samples = small_network("resnet-digits")
    scores = iter([0.9, 0.5, 0.85, 0.7])  # fp32, then the methods in order
    given = Settings(evaluate=lambda one: next(scores), scheme="x86-vnni", max_drop=0.06)
    result = to_int8(model, samples, given)
    assert result.method == "entropy"
    assert (result.accuracy_before, result.accuracy_after) == (0.9, 0.85)
    assert result.accuracy_drop == pytest.approx(0.05)
    assert result.num_evaluations == 4


def test_of_methods_that_are_as_accurate_the_closest_to_fp32_is_taken():
    model, samples = small_network("resnet-digits")
    methods = ("entropy", "min-max")
    given = Settings(evaluate=lambda one: 0.9, scheme="x86-vnni", methods=methods)
    assert to_int8(model, samples, given).method == "min-max"  # entropy cuts much off here


def test_a_method_within_the_limit_is_not_given_up_for_a_closer_one_beyond_it():
    model, samples = small_network("resnet-digits")
    scores = iter([0.9, 0.897, 0.894])  # fp32, entropy, min-max
    given = Settings(
        evaluate=lambda one: next(scores), scheme="x86-vnni", methods=("entropy", "min-max")
    )
    assert to_int8(model, samples, given).method == "entropy"


def test_where_no_layer_can_be_quantised_that_is_said():
    model, samples = chain_with_a_sensitive_layer()

    def evaluate(one: bytes) -> float:
        return float(kinds(one)["QuantizeLinear"] == 0)

    given = Settings(evaluate=evaluate, methods=("min-max",), scheme="x86-vnni")
    result = to_int8(model, samples, given)
    assert result.kept_float == ("first", "second", "third")
    assert result.accuracy_drop == 0
    assert "computes in fp32" in result.notes[0]


def test_a_planted_sensitive_layer_stays_in_float():
    model, samples = chain_with_a_sensitive_layer()
    seen = []
    given = settings(
        model,
        samples,
        max_drop=0.1,
        progress=lambda done, total, note: seen.append((done, total, note)),
    )
    whole = to_int8(model, samples, settings(model, samples))
    assert whole.accuracy_drop > 0.1  # so there is something to repair
    result = to_int8(model, samples, given)
    assert "second" in result.kept_float
    assert len(result.kept_float) < 3
    assert result.accuracy_drop <= 0.1
    assert weight(result.model, "w2").dtype == np.float32
    assert kinds(result.model)["QuantizeLinear"] > 0
    assert [done for done, _, _ in seen] == list(range(1, result.num_evaluations + 1))
    assert {total for _, total, _ in seen} == {given.max_evaluations}


def test_a_batch_of_fixed_size_is_kept_to():
    model, samples = chain_with_a_sensitive_layer()
    fixed = onnx.load_from_string(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 12
    data = fixed.SerializeToString()
    score = iter([1.0, 0.5, *[0.9] * 3, 1.0])
    given = Settings(evaluate=lambda one: next(score), methods=("min-max",), scheme="x86-vnni")
    result = to_int8(data, samples, given)
    assert len(result.kept_float) == 1
    assert result.num_evaluations == 6
    few = {name: array[:11] for name, array in samples.items()}
    with pytest.raises(InputError, match="expected at least 12 calibration samples, one batch"):
        to_int8(data, few, settings(model, samples))


def test_evaluations_are_bounded_and_a_limit_not_kept_is_said():
    model, samples = chain_with_a_sensitive_layer()
    calls = []

    def evaluate(one: bytes) -> float:
        calls.append(one)
        return 1.0 if one == model else 0.5 - 0.01 * len(calls)

    given = Settings(evaluate=evaluate, methods=("min-max",), scheme="x86-vnni", max_evaluations=5)
    result = to_int8(model, samples, given)
    assert len(calls) == result.num_evaluations == 5
    assert result.accuracy_after == pytest.approx(0.48)  # the best that was seen
    assert result.kept_float == ()
    assert "points of accuracy are lost" in result.notes[0]


@pytest.mark.parametrize(
    ("treatment", "gates", "rectifiers"), [("float", 0, 0), ("quantised", 1, 0), ("relu", 0, 1)]
)
def test_hard_activations_in_float_quantised_or_replaced(treatment, gates, rectifiers):
    model, samples = small_network("mobilenet-digits")
    assert kinds(model)["HardSwish"] > 0
    result = int8("mobilenet-digits", hard_activations=treatment)
    graph = onnx.load_from_string(result.model).graph
    readers = {name: node for node in graph.node for name in node.input}
    hard = [node for node in graph.node if node.op_type == "HardSigmoid"]
    quantised = [n for n in hard if readers[n.output[0]].op_type == "QuantizeLinear"]
    assert len(quantised) == (len(hard) if gates else 0)
    assert bool(hard) != bool(rectifiers)
    assert ("measuring only" in "".join(result.notes)) == bool(rectifiers)
    if not rectifiers:
        assert difference(result.model, model, samples) < 0.3


def test_on_x86_the_convolution_of_the_image_stays_in_float():
    for scheme, kept in (("x86-vnni", 1), ("x86", 1), ("arm", 0), ("tensorrt", 0)):
        result = int8("resnet-digits", scheme=scheme)
        graph = onnx.load_from_string(result.model).graph
        (stem,) = [node for node in graph.node if graph.input[0].name in node.input]
        assert (stem.op_type == "Conv") == bool(kept)
        assert result.kept_float == ((stem.name,) if kept else ())


def test_a_processor_has_its_scheme():
    assert scheme_of("x86_64", frozenset({"avx2", "avx512_vnni"})) == "x86-vnni"
    assert scheme_of("AMD64", frozenset({"avx_vnni"})) == "x86-vnni"
    assert scheme_of("x86_64", frozenset({"avx2"})) == "x86"
    assert scheme_of("arm64", frozenset()) == scheme_of("aarch64", frozenset()) == "arm"
    assert SCHEMES["x86"].reduce_range


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ("minmax",)}, "unknown calibration method 'minmax'; did you mean 'min-max'"),
        ({"methods": ()}, "expected calibration methods"),
        ({"scheme": "sparc"}, "unknown scheme 'sparc'"),
        ({"hard_activations": "sigmoid"}, "unknown treatment of hard activations"),
        ({"max_evaluations": 1}, "expected at least 2 evaluations"),
        ({"evaluate": None}, "expected `evaluate`"),
    ],
)
def test_bad_settings_are_refused(changes, words):
    model, samples = small_network("resnet-digits")
    given = {"evaluate": lambda one: 1.0, "methods": ("min-max",)} | changes
    with pytest.raises(InputError, match=words):
        to_int8(model, samples, Settings(**given))


def bad_samples(word: str) -> dict[str, np.ndarray]:
    (name, good), *_ = small_network("resnet-digits")[1].items()
    return {
        "absent": {},
        "none": {name: good[:0]},
        "few": {name: good[:3]},
        "misnamed": {"x": good},
        "wrong shape": {name: good[:, :, 1:]},
        "wrong type": {name: good.astype(np.float64)},
        "not finite": {name: np.where(good > 0, np.float32("nan"), good)},
    }[word]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("absent", "expected samples of inputs"),
        ("none", "at least 8 calibration samples, got 0"),
        ("few", "at least 8 calibration samples, got 3"),
        ("misnamed", "expected samples of inputs"),
        ("wrong shape", "expected samples of"),
        ("wrong type", "expected samples of"),
        ("not finite", "not finite"),
    ],
)
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_unfit_samples_are_refused(precision, word, message):
    model, good = small_network("resnet-digits")
    with pytest.raises(InputError, match=message):
        PRECISIONS[precision](model, bad_samples(word), settings(model, good))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_quantised_already_is_refused(precision):
    model, samples = small_network("resnet-digits")
    done = int8("resnet-digits").model
    with pytest.raises(InputError, match="quantised already"):
        PRECISIONS[precision](done, samples, settings(model, samples))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_no_model_is_refused(precision):
    _, samples = small_network("resnet-digits")
    with pytest.raises(InputError, match="expected a serialised ONNX model"):
        PRECISIONS[precision](b"no model", samples, Settings(evaluate=lambda one: 1.0))


def test_an_accuracy_that_is_no_number_is_refused():
    model, samples = small_network("resnet-digits")
    with pytest.raises(InputError, match="finite accuracy of fp32"):
        to_int8(model, samples, Settings(evaluate=lambda one: float("nan")))


def test_samples_are_what_ranges_come_from():
    model, samples = small_network("resnet-digits")
    tenth = {name: array / 10 for name, array in samples.items()}
    narrow = to_int8(model, tenth, settings(model, samples)).model
    assert difference(narrow, model, samples) > difference(
        int8("resnet-digits").model, model, samples
    )
    assert np.isfinite(logits(narrow, samples)).all()

"""Engines as exported files: our own part without a GPU, all of it on one."""

import sys
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardware_profiles.runtimes.tensorrt import in_half_precision
from hardware_profiles.runtimes.tensorrt_options import engine_options
from nas.exporting import plan
from nas.exporting.parity import compare, run_onnx
from nas.exporting.plan import build_plan, check_plan, default_timing_cache, gpu_setup
from search_spaces import InputError, MissingExtraError
from search_spaces.errors import ParityError
from tests.contracts.runtime_contract import small_workload
from tests.nas.exporting.fake_gpu import FakeEngine, pretend_gpu
from tests.nas.exporting.test_plan_info import H200, here

HAS_GPU = torch.version.cuda is not None and torch.cuda.is_available()
MODEL = small_workload().onnx()
SAMPLES = {"input": np.random.default_rng(0).standard_normal((9, 3, 12, 12)).astype(np.float32)}
RANGE = {"batch": {"least": 1, "typical": 2, "most": 4}}


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there."""
    return pretend_gpu(monkeypatch)


@pytest.mark.usefixtures("gpu")
def test_a_plan_says_what_it_holds_for():
    options = engine_options({**RANGE, "workspace_mb": 64, "hardware_compatible": "ampere-plus"})
    made = build_plan(MODEL, SAMPLES, "fp32", options)
    assert made.engine == MODEL
    assert made.info.built_on == H200
    assert made.info.onnx_sha256 == sha256(MODEL).hexdigest()
    assert made.info.batch == options.batch
    assert made.info.inputs == {"input": (3, 12, 12)}
    assert made.info.free
    assert (made.info.workspace_mb, made.info.hardware_compatible) == (64, "ampere-plus")
    assert not made.info.tf32


@pytest.mark.usefixtures("gpu")
def test_answers_are_compared_at_the_ends_of_the_range_and_between():
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    assert list(made.parity) == ["batch 1", "batch 2", "batch 4"]
    assert all(parity.ok and parity.n == 9 for parity in made.parity.values())
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE), batch_sizes=[3])
    assert list(made.parity) == ["batch 3"]


def words_of(target):
    return (
        target.runtime,
        target.runtime_version,
        target.provider,
        target.batch_size,
        target.precision,
    )


@pytest.mark.usefixtures("gpu")
def test_it_is_timed_both_ways_at_the_typical_batch():
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    assert words_of(made.graph[0]) == ("tensorrt", "10.16.1.11", "cuda-graphs", 2, "fp32")
    assert words_of(made.launched[0]) == ("tensorrt", "10.16.1.11", "launches", 2, "fp32")
    assert made.graph[1].latency_ms > 0
    timed_ones = {one for one in FakeEngine.asked if one[0] != "run"}
    assert timed_ones == {("graph", (2, 3, 12, 12)), ("launched", (2, 3, 12, 12))}


@pytest.mark.usefixtures("gpu")
def test_an_engine_that_answers_differently_does_not_leave(monkeypatch):
    monkeypatch.setattr(FakeEngine, "error", 0.01)
    with pytest.raises(ParityError, match=r"engine, batch 1: outputs differ by 0\.01"):
        build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    assert all(kind == "run" for kind, _ in FakeEngine.asked)  # nothing was timed


@pytest.mark.usefixtures("gpu")
def test_limits_are_those_of_the_comparison_passed_in(monkeypatch):
    monkeypatch.setattr(FakeEngine, "error", 0.01)

    def loose(found, reference):
        return compare(found, reference).model_copy(update={"limit": 0.1})

    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE), compare=loose)
    assert {parity.limit for parity in made.parity.values()} == {0.1}


@pytest.mark.usefixtures("gpu")
def test_another_file_can_be_what_it_has_to_answer_like():
    other = onnx.load_from_string(MODEL)
    for weight in other.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weight) * np.float32(1.5)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ParityError, match="outputs differ"):
        build_plan(
            MODEL,
            SAMPLES,
            "fp32",
            engine_options(RANGE),
            reference=other.SerializeToString(),
        )


@pytest.mark.usefixtures("gpu")
def test_files_in_half_precision_become_engines_too():
    half = in_half_precision(MODEL)
    samples = {"input": SAMPLES["input"].astype(np.float16)}
    near = partial(_loose_compare, limit=0.02)
    made = build_plan(half, samples, "fp16", engine_options(RANGE), compare=near)
    assert made.info.precision == "fp16"
    assert made.graph[0].precision == "fp16"


def bf16_product():
    """x (n x 3) times a matrix, in bf16, which ONNX Runtime has no CPU kernel for."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 3)) for name in "xy"]
    matrix = helper.make_tensor("w", TensorProto.BFLOAT16, (3, 3), np.eye(3).ravel())
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.BFLOAT16),
        helper.make_node("Gemm", ["half", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:], [matrix])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_a_file_that_cannot_be_compared_with_asks_for_a_reference(gpu):
    samples = {"x": np.ones((2, 3), np.float32)}
    with pytest.raises(InputError, match=r"ONNX Runtime here can answer.*as the reference"):
        build_plan(bf16_product(), samples, "bf16", engine_options(RANGE))
    assert not gpu.built


def _loose_compare(found, reference, limit):
    return compare(found, reference).model_copy(update={"limit": limit})


@pytest.mark.parametrize("compatible", [False, True])
def test_code_in_an_engine_that_was_just_built_is_trusted(gpu, compatible):
    options = engine_options({**RANGE, "version_compatible": compatible})
    made = build_plan(MODEL, SAMPLES, "fp32", options)
    assert gpu.built == [options, compatible]
    assert made.info.version_compatible is compatible


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": b"no model"}, InputError, "expected a serialised ONNX model"),
        ({"precision": "int8"}, InputError, "expected a file in int8, got one in fp32"),
        ({"batch_sizes": [1, 8]}, InputError, r"within 1 to 4, typically 2, got \[8\]"),
        ({"samples": {}}, ParityError, "expected at least 1 samples to compare on, got 0"),
        ({"samples": {"x": np.ones((2, 3))}}, ParityError, "expected a model of inputs"),
    ],
)
def test_what_cannot_be_built_is_refused_before_building(gpu, changes, error, words):
    arguments = {
        "model": MODEL,
        "samples": SAMPLES,
        "precision": "fp32",
        "options": engine_options(RANGE),
    }
    with pytest.raises(error, match=words):
        build_plan(**(arguments | changes))
    assert not gpu.built


def test_an_old_gpu_is_refused_before_building(gpu, monkeypatch):
    old = here(gpu="Tesla T4", compute_capability=(7, 5))
    monkeypatch.setattr(plan, "gpu_setup", lambda: old)
    with pytest.raises(InputError, match="ampere-plus engines are built from"):
        build_plan(MODEL, SAMPLES, "fp32", engine_options({"hardware_compatible": "ampere-plus"}))
    assert not gpu.built


# --- engines that are there -----------------------------------------------------------------------


def expected():
    return run_onnx(MODEL, SAMPLES, 9)


@pytest.mark.usefixtures("gpu")
def test_a_stored_engine_is_compared_again():
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    found = check_plan(made.engine, made.info, SAMPLES, expected())
    assert list(found) == ["batch 1", "batch 2", "batch 4"]


def test_an_engine_of_another_machine_is_not_loaded(gpu, monkeypatch):
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    monkeypatch.setattr(plan, "gpu_setup", lambda: here(tensorrt_version="11.4.0.106"))
    gpu.built.clear()
    with pytest.raises(InputError, match="does not fit this machine"):
        check_plan(made.engine, made.info, SAMPLES, expected())
    assert not gpu.built


def test_code_in_a_stored_engine_runs_only_where_it_is_trusted(gpu):
    options = engine_options({**RANGE, "version_compatible": True})
    made = build_plan(MODEL, SAMPLES, "fp32", options)
    gpu.built.clear()
    with pytest.raises(InputError, match="carries code that runs when it is loaded"):
        check_plan(made.engine, made.info, SAMPLES, expected())
    assert not gpu.built
    check_plan(made.engine, made.info, SAMPLES, expected(), trusted=True)
    assert gpu.built == [True]


@pytest.mark.usefixtures("gpu")
def test_a_damaged_engine_says_so():
    made = build_plan(MODEL, SAMPLES, "fp32", engine_options(RANGE))
    with pytest.raises(InputError, match="does not load this engine: it was damaged"):
        check_plan(b"", made.info, SAMPLES, expected())


# --- what is missing ------------------------------------------------------------------------------


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for call in (gpu_setup, lambda: build_plan(MODEL, SAMPLES, "fp32")):
        with pytest.raises(MissingExtraError, match=r"exporting .*supernet-engine\[tensorrt\]"):
            call()


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_that_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(InputError, match="exporting TensorRT engines needs an NVIDIA GPU"):
        build_plan(MODEL, SAMPLES, "fp32")


def test_timings_lie_beside_those_of_profiles():
    path = default_timing_cache(H200)
    assert path.parts[-2:] == ("nvidia-h200-sm90-tensorrt-10.16.1.11", "timing.cache")


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.skipif(
    not HAS_GPU or find_spec("tensorrt") is None, reason="needs TensorRT and an NVIDIA GPU"
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"version_compatible": True},
        {"hardware_compatible": "ampere-plus"},
        {"hardware_compatible": "same-compute-capability"},
    ],
)
def test_engines_are_built_proven_timed_and_checked_again(settings, tmp_path):
    options = engine_options({**RANGE, **settings, "timing_cache": tmp_path / "timings"})
    made = build_plan(MODEL, SAMPLES, "fp32", options)
    assert made.info.built_on == gpu_setup()
    assert options.timing_cache.stat().st_size > 0
    assert made.graph[0].provider == "cuda-graphs"
    assert made.launched[0].provider == "launches"
    assert made.launched[1].wall_ms > 0
    trusted = options.version_compatible
    found = check_plan(made.engine, made.info, SAMPLES, expected(), trusted=trusted)
    assert all(parity.ok for parity in found.values())


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.skipif(
    not HAS_GPU or find_spec("tensorrt") is None, reason="needs TensorRT and an NVIDIA GPU"
)
def test_a_half_precision_engine_answers_like_the_file():
    samples = {"input": SAMPLES["input"].astype(np.float16)}
    near = partial(_loose_compare, limit=0.02)
    made = build_plan(
        in_half_precision(MODEL), samples, "fp16", engine_options(RANGE), compare=near
    )
    assert all(parity.ok for parity in made.parity.values())

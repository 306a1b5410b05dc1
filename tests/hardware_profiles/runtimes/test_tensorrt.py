"""TensorRT: what can be known without a GPU here; the rest is marked and skipped."""

import json
import re
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardware_profiles.profile_device import timed
from hardware_profiles.runtimes import tensorrt
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.runtimes.tensorrt import TensorRT, in_half_precision, model_in
from search_spaces import InputError, MissingExtraError
from tests.contracts.runtime_contract import RuntimeContract, small_workload
from tests.hardware_profiles.runtimes.fake_tensorrt import FakeTensorRT

HAS_GPU = torch.version.cuda is not None and torch.cuda.is_available()


def library() -> ModuleType | None:
    try:
        return import_module("tensorrt")
    except ImportError:
        return None


needs_tensorrt = pytest.mark.skipif(
    library() is None or not HAS_GPU, reason="needs TensorRT and an NVIDIA GPU"
)

# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"precision": "bf16"}, "fp32 or fp16, got bf16"),
        ({"precision": "int8"}, "fp32 or fp16, got int8"),
        ({"provider": "TensorrtExecutionProvider"}, "they are of onnxruntime"),
        ({"threads": 4}, "expected threads 1, got 4"),
    ],
)
def test_settings_are_refused_before_anything_is_loaded(fields, words):
    with pytest.raises(InputError, match=words):
        TensorRT(RuntimeSettings.model_validate(fields))


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=re.escape('"supernet-engine[tensorrt]"')) as caught:
        TensorRT(RuntimeSettings())
    assert "found" not in str(caught.value)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_the_library_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(InputError, match="tensorrt needs an NVIDIA GPU"):
        TensorRT(RuntimeSettings())


# --- the cache ------------------------------------------------------------------------------------


class FakeEngine:
    inputs: ClassVar = {"input": (-1, 3, 12, 12)}

    def __init__(self, trt, log, engine, device):
        self.told = json.loads(engine)

    @contextmanager
    def timer(self, shapes):
        assert self.told["shapes"]["input"] == [list(shapes["input"])] * 3
        yield timed(lambda: None)


@pytest.fixture
def library_here(monkeypatch):
    """A library on a GPU, both stood in for."""
    trt = FakeTensorRT()
    target = SimpleNamespace(device="NVIDIA H200")
    monkeypatch.setattr(tensorrt, "import_tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt, "cuda_device", lambda runtime: torch.device("cpu"))
    monkeypatch.setattr(tensorrt, "cuda_target", lambda *arguments: target)
    monkeypatch.setattr(tensorrt, "Engine", FakeEngine)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return trt


def visit(cache: Path, batch_size: int = 3) -> list[str]:
    """Open the small network once; return the names of the engines that are kept."""
    runtime = TensorRT(RuntimeSettings(batch_size=batch_size), cache)
    with runtime.open(small_workload()) as timer:
        timer(2)
    return sorted(path.name for path in cache.rglob("*.plan"))


def test_an_engine_is_built_once_for_a_batch_size(library_here, tmp_path):
    engines = visit(tmp_path)
    timings = tmp_path / "nvidia-h200-sm90-tensorrt-11.4.0.106" / "timing.cache"
    assert timings.read_bytes() == b"+"
    assert visit(tmp_path) == engines
    assert timings.read_bytes() == b"+"
    assert len(visit(tmp_path, 4)) == 2
    assert timings.read_bytes() == b"++"


def test_an_engine_that_is_refused_is_built_again(library_here, tmp_path):
    (name,) = visit(tmp_path)
    (path,) = tmp_path.rglob(name)
    path.write_bytes(b"")
    visit(tmp_path)
    assert path.stat().st_size > 0


def test_an_engine_that_is_refused_twice_is_an_error(library_here, tmp_path):
    library_here.refuses = ["engines"]
    with pytest.raises(InputError, match="does not load what it built"):
        visit(tmp_path)


# --- fp16 -----------------------------------------------------------------------------------------


def answers(model: bytes, inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs})
    return found


def test_a_network_in_fp16_is_the_same_network():
    model = small_workload().onnx()
    inputs = np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32)
    exact = answers(model, inputs)
    found = answers(in_half_precision(model), inputs.astype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), exact, rtol=0.02, atol=0.01)
    assert np.abs(exact).max() > 0.1  # there is something to compare


def test_the_file_carries_the_precision():
    workload = small_workload()
    assert model_in("fp32", workload) == workload.onnx()
    assert model_in("fp16", workload) == in_half_precision(workload.onnx())


def test_all_weights_of_a_network_in_fp16_are_fp16():
    half = onnx.load_from_string(in_half_precision(small_workload().onnx()))
    assert {weight.data_type for weight in half.graph.initializer} == {TensorProto.FLOAT16}
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT16
    batch = half.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param  # still free


def model_of(nodes, weights=()):
    """A serialised model: x -> y, fp32, 2 x 3."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "test", [x], [y], list(weights))
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_integers_stay_integers():
    shape = numpy_helper.from_array(np.array([2, 3]), "shape")
    model = model_of([helper.make_node("Reshape", ["x", "shape"], ["y"])], [shape])
    (weight,) = onnx.load_from_string(in_half_precision(model)).graph.initializer
    assert weight.data_type == TensorProto.INT64


def test_weights_beyond_fp16_are_refused():
    big = numpy_helper.from_array(np.full(3, 7e4, np.float32), "big")
    model = model_of([helper.make_node("Mul", ["x", "big"], ["y"])], [big])
    with pytest.raises(InputError, match="big does not fit into fp16"):
        in_half_precision(model)


@pytest.mark.parametrize(
    "nodes",
    [
        [
            helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "c"], ["y"]),
        ],
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [
            helper.make_node(
                "Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3, np.float32))
            ),
            helper.make_node("Mul", ["x", "c"], ["y"]),
        ],
    ],
    ids=["cast", "cast of the output", "constant"],
)
def test_types_that_the_weights_do_not_decide_are_refused(nodes):
    with pytest.raises(InputError, match="cannot be turned into fp16"):
        in_half_precision(model_of(nodes))


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.fixture
def caches(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt, "default_cache", lambda: tmp_path)
    return tmp_path


@pytest.mark.gpu
@pytest.mark.tensorrt
@needs_tensorrt
@pytest.mark.usefixtures("caches")
class TestTensorRT(RuntimeContract):
    name = "tensorrt"
    accepted = ({"precision": "fp16"}, {"batch_size": 4}, {"cores": (0,)})
    refused = (
        ({"precision": "bf16"}, "got bf16"),
        ({"precision": "int8"}, "got int8"),
        ({"provider": "TensorrtExecutionProvider"}, "no providers"),
        ({"threads": 2}, "threads 1, got 2"),
    )


@pytest.mark.gpu
@pytest.mark.tensorrt
@needs_tensorrt
def test_engines_and_timings_are_built_once(tmp_path):
    runtime = TensorRT(RuntimeSettings(), tmp_path)
    for _ in range(2):
        with runtime.open(small_workload()) as timer:
            timer(3)
        (folder,) = tmp_path.iterdir()
        (plan,) = folder.glob("*.plan")
        built = plan.stat().st_mtime_ns
        assert (folder / "timing.cache").stat().st_size > 0
    assert plan.stat().st_mtime_ns == built


@pytest.mark.gpu
@pytest.mark.tensorrt
@needs_tensorrt
def test_a_damaged_engine_is_built_again(tmp_path):
    runtime = TensorRT(RuntimeSettings(), tmp_path)
    with runtime.open(small_workload()):
        pass
    (plan,) = tmp_path.rglob("*.plan")
    plan.write_bytes(plan.read_bytes()[:100])
    with runtime.open(small_workload()) as timer:
        timer(1)
    assert plan.stat().st_size > 100

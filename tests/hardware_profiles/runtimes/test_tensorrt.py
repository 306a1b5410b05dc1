"""TensorRT: what can be known without a GPU here; the rest is marked and skipped."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardware_profiles.runtimes import tensorrt
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.runtimes.tensorrt import (
    TensorRT,
    cache_folder,
    default_cache,
    engine_key,
    import_tensorrt,
    in_half_precision,
    model_in,
    profile_shape,
)
from search_spaces import InputError, MissingExtraError
from tests.contracts.runtime_contract import RuntimeContract, small_workload

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


def test_an_incomplete_library_says_what_is_wrong_with_it(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"found, but: libnvinfer\.so\.11: cannot open"):
        import_tensorrt()


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_the_library_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(InputError, match="tensorrt needs an NVIDIA GPU"):
        TensorRT(RuntimeSettings())


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "batch_size", "shape"),
    [
        ((-1, 3, 128, 96), 1, (1, 3, 128, 96)),
        ((-1, 3, 128, 96), 32, (32, 3, 128, 96)),
        ((-1,), 4, (4,)),
        ((8, 3, 4, 4), 8, (8, 3, 4, 4)),
    ],
)
def test_the_free_batch_is_filled_in(dims, batch_size, shape):
    assert profile_shape("input", dims, batch_size) == shape


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ((-1, 3, -1, -1), "batch alone is free, got 'input' of shape"),
        ((), "batch alone is free"),
        ((4, 3, 8, 8), "fixed batch of 4, expected 2"),
    ],
)
def test_other_shapes_are_refused(dims, words):
    with pytest.raises(InputError, match=words):
        profile_shape("input", dims, 2)


# --- the cache ------------------------------------------------------------------------------------


def test_engines_are_named_by_all_they_are_built_from(monkeypatch):
    key = engine_key(b"model", 1)
    assert key == engine_key(b"model", 1)
    assert re.fullmatch("[0-9a-f]{64}", key)
    others = [engine_key(b"other", 1), engine_key(b"model", 2)]
    monkeypatch.setattr(tensorrt, "WORKSPACE_BYTES", 1 << 20)
    others.append(engine_key(b"model", 1))
    assert len({key, *others}) == 4


def test_fp16_is_another_engine():
    model = small_workload().onnx()
    assert engine_key(model, 1) != engine_key(in_half_precision(model), 1)


def test_the_same_network_is_the_same_engine_at_every_visit():
    keys = {engine_key(small_workload().onnx(), 1) for _ in range(2)}
    assert len(keys) == 1


def test_folders_are_per_gpu_and_version():
    name = cache_folder("NVIDIA H200", (9, 0), "11.4.0.106")
    assert name == "nvidia-h200-sm90-tensorrt-11.4.0.106"
    assert cache_folder("../x/y", (9, 0), "11.4").startswith("x-y-sm90")
    others = {
        cache_folder("NVIDIA H200", (9, 0), "10.16.1"),
        cache_folder("NVIDIA H100", (9, 0), "11.4.0.106"),
        cache_folder("NVIDIA H200", (10, 0), "11.4.0.106"),
    }
    assert len(others | {name}) == 4


def test_engines_lie_in_the_users_cache():
    path = default_cache()
    assert path.is_absolute()
    assert path.parts[-2:] == ("supernet-engine", "tensorrt")


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


# --- the names of NVIDIA's library ----------------------------------------------------------------

SOURCE = Path(tensorrt.__file__).read_text(encoding="utf-8")
METHODS = {
    "Builder": [
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    ],
    "IBuilderConfig": [
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "set_memory_pool_limit",
        "set_timing_cache",
    ],
    "ICudaEngine": [
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_shape",
        "num_io_tensors",
    ],
    "IExecutionContext": [
        "execute_async_v3",
        "get_tensor_shape",
        "infer_shapes",
        "set_input_shape",
        "set_tensor_address",
    ],
    "INetworkDefinition": ["get_input", "num_inputs"],
    "IOptimizationProfile": ["set_shape"],
    "ITensor": ["name", "shape"],
    "ITimingCache": ["serialize"],
    "OnnxParser": ["get_error", "num_errors", "parse"],
    "ParserError": ["desc"],
    "Runtime": ["deserialize_cuda_engine"],
}


def test_the_list_of_names_follows_the_source():
    for methods in METHODS.values():
        for method in methods:
            assert f".{method}" in SOURCE


def test_every_name_is_in_the_library():
    trt = library()
    if trt is None:
        pytest.skip("TensorRT's Python package is not installed")
    dotted = set(re.findall(r"\btrt\.([A-Z]\w+(?:\.\w+)?)", SOURCE))
    assert {"Builder", "BuilderFlag.TF32", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"} <= dotted
    dotted |= {f"{owner}.{method}" for owner, methods in METHODS.items() for method in methods}
    for name in sorted(dotted):
        owner, _, member = name.partition(".")
        assert hasattr(trt, owner), name
        assert not member or hasattr(getattr(trt, owner), member), name


def test_errors_of_the_library_are_kept_for_our_messages():
    trt = library()
    if trt is None:
        pytest.skip("TensorRT's Python package is not installed")
    log = tensorrt._error_log(trt)
    assert log.last()
    log.log(trt.ILogger.ERROR, "no kernel for this layer")
    log.log(trt.ILogger.WARNING, "something else")
    assert log.last() == "no kernel for this layer"


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


@pytest.mark.gpu
@pytest.mark.tensorrt
@needs_tensorrt
def test_engines_answer_as_the_network_does(tmp_path):
    runtime = TensorRT(RuntimeSettings(batch_size=3), tmp_path)
    model = small_workload().onnx()
    engine = runtime._load(runtime._build(model))
    context = engine.create_execution_context()
    tensors = runtime._bind(engine, context)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    (inputs,) = (t for name, t in tensors.items() if name == "input")
    expected = answers(model, inputs.cpu().numpy())
    np.testing.assert_allclose(tensors["logits"].cpu().numpy(), expected, rtol=1e-3, atol=1e-4)

"""Building engines: all that is ours of it, by a stand-in for NVIDIA's library."""

import json
import re
import sys
from importlib import import_module, util
from pathlib import Path

import pytest

from hardware_profiles.runtimes import tensorrt_build
from hardware_profiles.runtimes.tensorrt import in_half_precision
from hardware_profiles.runtimes.tensorrt_build import (
    build_engine,
    cache_folder,
    default_cache,
    engine_key,
    error_log,
    import_tensorrt,
    profile_shapes,
    start_runtime,
)
from hardware_profiles.runtimes.tensorrt_options import BatchRange, EngineOptions, engine_options
from search_spaces import InputError, MissingExtraError, TensorSpec
from tests.contracts.runtime_contract import small_workload
from tests.hardware_profiles.runtimes.fake_tensorrt import FakeTensorRT

MODEL = small_workload().onnx()
DEFAULTS = EngineOptions()


def told(options: EngineOptions = DEFAULTS, trt: FakeTensorRT | None = None, model=MODEL) -> dict:
    """What the library is told for a build."""
    library = trt or FakeTensorRT()
    return json.loads(build_engine(library, error_log(library), model, options))


# --- the library ----------------------------------------------------------------------------------


def test_an_incomplete_library_says_what_is_wrong_with_it(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open')")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"found, but: libnvinfer\.so\.11: cannot open"):
        import_tensorrt()


def test_a_missing_library_says_what_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=r'^exporting engines needs the extra "tensorrt"'):
        import_tensorrt("exporting engines")


def test_errors_of_the_library_are_kept_for_our_messages(capfd):
    trt = FakeTensorRT()
    log = error_log(trt)
    assert log.last()
    log.log(trt.ILogger.ERROR, "no kernel for this layer")
    log.log(trt.ILogger.WARNING, "something else")
    assert log.last() == "no kernel for this layer"
    assert capfd.readouterr() == ("", "")


# --- what is built --------------------------------------------------------------------------------


def test_networks_are_strongly_typed_and_tf32_is_off():
    found = told()
    assert found["network flags"] == 1 << 3
    assert found["cleared"] == ["tf32"]
    assert found["set"] == []
    assert found["level"] is None


def test_the_workspace_is_in_mebibytes():
    assert told(engine_options({"workspace_mb": 3}))["pool"] == ["workspace", 3 * 1024 * 1024]


def test_one_profile_takes_the_range_of_batches():
    found = told(EngineOptions(batch=BatchRange(least=1, typical=4, most=8)))
    assert found["profiles"] == 1
    assert found["shapes"] == {"input": [[1, 3, 12, 12], [4, 3, 12, 12], [8, 3, 12, 12]]}


@pytest.mark.parametrize(
    ("settings", "flags", "level"),
    [
        ({"version_compatible": True}, ["version compatible"], None),
        ({"hardware_compatible": "ampere-plus"}, [], "AMPERE_PLUS"),
        ({"hardware_compatible": "same-compute-capability"}, [], "SAME_COMPUTE_CAPABILITY"),
    ],
)
def test_compatible_engines(settings, flags, level):
    found = told(engine_options(settings))
    assert (found["set"], found["level"]) == (flags, level)


def test_what_an_older_library_lacks_is_said():
    older = FakeTensorRT(levels=["AMPERE_PLUS"])
    options = engine_options({"hardware_compatible": "same-compute-capability"})
    with pytest.raises(InputError, match="has no hardware compatibility 'same-compute-cap"):
        told(options, older)


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("model", "does not read this network: error 0; error 1"),
        ("build", "cannot build this network: no kernel fits$"),
        ("driver", "does not build engines on this driver: CUDA initialization failure"),
    ],
)
def test_the_librarys_refusals_become_messages(refuses, words):
    with pytest.raises(InputError, match=words):
        told(trt=FakeTensorRT(refuses=[refuses]))


def test_a_runtime_that_does_not_start_says_why():
    trt = FakeTensorRT(refuses=["driver"])
    with pytest.raises(InputError, match=r"11\.4\.0\.106 does not start on this driver: CUDA"):
        start_runtime(trt, error_log(trt))


# --- timings --------------------------------------------------------------------------------------


def test_timings_are_kept_and_used_by_the_next_build(tmp_path):
    options = EngineOptions(timing_cache=tmp_path / "new" / "timings")
    assert [told(options)["timings"] for _ in range(3)] == ["", "+", "++"]
    assert options.timing_cache.read_bytes() == b"+++"


def test_timings_of_another_machine_are_replaced(tmp_path):
    path = tmp_path / "timings"
    path.write_bytes(b"of another GPU")
    found = told(EngineOptions(timing_cache=path), FakeTensorRT(refuses=["timings"]))
    assert found["timings"] == ""
    assert path.read_bytes() == b"+"


def test_without_a_file_nothing_is_kept():
    assert "timings" not in told()


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "batch", "shapes"),
    [
        ((-1, 3, 8, 9), "1", [(1, 3, 8, 9)] * 3),
        ((-1, 3, 8, 9), "1,4,32", [(1, 3, 8, 9), (4, 3, 8, 9), (32, 3, 8, 9)]),
        ((-1,), "4", [(4,)] * 3),
        ((8, 3, 4, 4), "8", [(8, 3, 4, 4)] * 3),
    ],
)
def test_the_free_batch_is_filled_in(dims, batch, shapes):
    assert list(profile_shapes("input", dims, BatchRange.parse(batch))) == shapes


def test_other_free_sizes_are_those_stated():
    spec = TensorSpec((7, 20), "float32", free=(1,))
    batch = BatchRange.parse("1,2,4")
    assert profile_shapes("x", (-1, 7, -1), batch, spec)[2] == (4, 7, 20)


@pytest.mark.parametrize(
    ("dims", "batch", "words"),
    [
        ((-1, 3, -1, -1), "2", "batch alone is free, got 'input' of shape"),
        ((), "2", "batch alone is free"),
        ((4, 3, 8, 8), "2", "fixed batch of 4, expected 2"),
        ((4, 3, 8, 8), "1,4,8", "fixed batch of 4, expected 1 to 8, typically 4"),
    ],
)
def test_other_shapes_are_refused(dims, batch, words):
    with pytest.raises(InputError, match=words):
        profile_shapes("input", dims, BatchRange.parse(batch))


# --- the cache ------------------------------------------------------------------------------------


def test_engines_are_named_by_all_they_are_built_from(tmp_path):
    key = engine_key(b"model", DEFAULTS)
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert engine_key(b"model", EngineOptions(timing_cache=tmp_path / "timings")) == key
    others = [
        {"batch": {"most": 2}},
        {"workspace_mb": 1},
        {"version_compatible": True},
        {"hardware_compatible": "ampere-plus"},
    ]
    keys = {engine_key(b"model", engine_options(one)) for one in others}
    assert len({key, engine_key(b"other", DEFAULTS), *keys}) == 6


def test_fp16_is_another_engine():
    assert engine_key(MODEL, DEFAULTS) != engine_key(in_half_precision(MODEL), DEFAULTS)


def test_the_same_network_is_the_same_engine_at_every_visit():
    assert len({engine_key(small_workload().onnx(), DEFAULTS) for _ in range(2)}) == 1


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


# --- the names of NVIDIA's library ----------------------------------------------------------------

FOLDER = Path(tensorrt_build.__file__).parent
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("tensorrt*.py")))
METHODS = {
    "Builder": [
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    ],
    "HardwareCompatibilityLevel": list(tensorrt_build.LEVELS.values()),
    "IBuilderConfig": [
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "hardware_compatibility_level",
        "set_flag",
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
    "Runtime": ["deserialize_cuda_engine", "engine_host_code_allowed"],
}
NEW = "SAME_COMPUTE_CAPABILITY"  # came after 10.3
TYPES = ("FLOAT", "HALF", "BF16", "INT64", "INT32", "INT8", "UINT8", "BOOL")


def names() -> list[str]:
    """All names of the library that the source uses."""
    dotted = set(re.findall(r"\btrt\.([A-Z]\w+(?:\.\w+)?)", SOURCE))
    assert {"Builder", "BuilderFlag.TF32", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"} <= dotted
    dotted |= {f"{owner}.{method}" for owner, methods in METHODS.items() for method in methods}
    return sorted(dotted | {f"DataType.{name}" for name in TYPES})


def test_the_list_of_names_follows_the_source():
    for methods in METHODS.values():
        for method in methods:
            assert f".{method}" in SOURCE or f'"{method}"' in SOURCE
    assert all(f'"{name}": torch.' in SOURCE for name in TYPES)


def test_every_name_is_in_the_library():
    try:
        trt = import_module("tensorrt")
    except ImportError:
        pytest.skip("TensorRT is not installed")
    for name in names():
        owner, _, member = name.partition(".")
        assert hasattr(trt, owner), name
        if member and member != NEW:
            assert hasattr(getattr(trt, owner), member), name


def test_every_name_is_in_the_bindings_where_the_library_is_not():
    """The package tensorrt-cu13-bindings, which installs alone, cannot be imported alone."""
    spec = util.find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None:
        pytest.skip("TensorRT's bindings are not installed")
    text = (Path(spec.origin).parent / "tensorrt.so").read_bytes()
    for name in names():
        for part in name.split("."):
            assert part.encode() + b"\0" in text or part == NEW, name


def test_the_stand_in_has_nothing_that_the_list_has_not():
    trt = FakeTensorRT()
    known = set(names())
    for owner in ("BuilderFlag", "MemoryPoolType", "NetworkDefinitionCreationFlag"):
        assert {f"{owner}.{member}" for member in vars(getattr(trt, owner))} <= known

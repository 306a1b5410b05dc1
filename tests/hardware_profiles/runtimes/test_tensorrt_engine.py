"""Loaded engines: binding by a stand-in for NVIDIA's library; answers and timers on a GPU."""

from enum import Enum
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hardware_profiles.runtimes.tensorrt_build import (
    build_engine,
    error_log,
    import_tensorrt,
    start_runtime,
)
from hardware_profiles.runtimes.tensorrt_engine import Engine, deserialize
from hardware_profiles.runtimes.tensorrt_options import EngineOptions, engine_options
from hardware_profiles.runtimes.torch_cuda import launched
from search_spaces import InputError
from tests.contracts.runtime_contract import small_workload
from tests.hardware_profiles.runtimes.test_tensorrt import answers

HAS_GPU = torch.version.cuda is not None and torch.cuda.is_available()
CPU = torch.device("cpu")


class DataType(Enum):
    FLOAT, BF16, INT64, UINT8, FP4 = range(5)


class Context:
    """Takes batches up to 4; the output is as long as the batch."""

    def __init__(self):
        self.shapes, self.addresses = {}, {}

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return shape[0] <= 4

    def infer_shapes(self):
        return []

    def get_tensor_shape(self, name):
        return (next(iter(self.shapes.values()))[0], 5)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address


def fake_engine(*dtypes: str, context: object | None = None) -> SimpleNamespace:
    """An engine with one input per type, x0 and so on, and the fp32 output y."""
    names = [*(f"x{i}" for i in range(len(dtypes))), "y"]
    types = dict(zip(names, (*dtypes, "FLOAT"), strict=True))
    return SimpleNamespace(
        create_execution_context=lambda: context,
        num_io_tensors=len(names),
        get_tensor_name=lambda i: names[i],
        get_tensor_dtype=lambda name: DataType[types[name]],
        get_tensor_mode=lambda name: "output" if name == "y" else "input",
        get_tensor_shape=lambda name: (-1, 3),
    )


TRT = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="input"))
LOG = SimpleNamespace(last=lambda: "out of profile")


def test_an_engine_says_what_it_takes_and_gives():
    engine = Engine(TRT, LOG, fake_engine("FLOAT", "INT64", context=Context()), CPU)
    assert engine.inputs == {"x0": (-1, 3), "x1": (-1, 3)}
    assert engine.outputs == ("y",)


def test_inputs_and_outputs_are_bound_where_the_engine_looks_for_them():
    context = Context()
    engine = Engine(TRT, LOG, fake_engine("FLOAT", "BF16", "INT64", "UINT8", context=context), CPU)
    tensors = engine.bind({f"x{i}": (2, 3) for i in range(4)})
    assert {name: (tuple(one.shape), one.dtype) for name, one in tensors.items()} == {
        "x0": ((2, 3), torch.float32),
        "x1": ((2, 3), torch.bfloat16),
        "x2": ((2, 3), torch.int64),
        "x3": ((2, 3), torch.uint8),
        "y": ((2, 5), torch.float32),
    }
    assert context.addresses == {name: one.data_ptr() for name, one in tensors.items()}
    assert set(tensors["x2"].unique().tolist()) <= {0, 1}
    assert tensors["x0"].std() > 0


def test_shapes_it_was_not_built_for_are_refused():
    engine = Engine(TRT, LOG, fake_engine("FLOAT", context=Context()), CPU)
    with pytest.raises(InputError, match=r"does not take 'x0' \(5, 3\): out of profile"):
        engine.bind({"x0": (5, 3)})


def test_other_samples_are_refused():
    engine = Engine(TRT, LOG, fake_engine("FLOAT", context=Context()), CPU)
    with pytest.raises(InputError, match=r"expected samples of \['x0'\], got those of \['z'\]"):
        engine.run({"z": np.zeros((1, 3))}, 1)


def test_types_that_torch_has_not_are_refused():
    with pytest.raises(InputError, match="'x0' is of type FP4"):
        Engine(TRT, LOG, fake_engine("FP4", context=Context()), CPU)


def test_no_room_is_an_error():
    with pytest.raises(InputError, match="no room for this engine: out of profile"):
        Engine(TRT, LOG, fake_engine("FLOAT"), CPU)


@pytest.mark.parametrize("host_code", [False, True])
def test_code_in_an_engine_runs_only_where_that_is_said(host_code):
    runtime = SimpleNamespace(
        engine_host_code_allowed=not host_code, deserialize_cuda_engine=lambda plan: plan
    )
    assert deserialize(runtime, b"plan", host_code=host_code) == b"plan"
    assert runtime.engine_host_code_allowed is host_code


# --- on a GPU -------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(
    not HAS_GPU or find_spec("tensorrt") is None, reason="needs TensorRT and an NVIDIA GPU"
)


def engine_of(model: bytes, options: EngineOptions) -> Engine:
    trt = import_tensorrt()
    log = error_log(trt)
    plan = build_engine(trt, log, model, options)
    loaded = deserialize(start_runtime(trt, log), plan, host_code=options.version_compatible)
    assert loaded is not None, log.last()
    return Engine(trt, log, loaded, torch.device("cuda", torch.cuda.current_device()))


def samples(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3, 12, 12)).astype(np.float32)


@pytest.mark.gpu
@pytest.mark.tensorrt
@on_gpu
@pytest.mark.parametrize(
    "settings", [{}, {"version_compatible": True}, {"hardware_compatible": "ampere-plus"}]
)
def test_engines_answer_as_the_network_does(settings):
    model, inputs = small_workload().onnx(), samples(7)
    batch = {"least": 1, "typical": 4, "most": 8}
    engine = engine_of(model, engine_options({"batch": batch, **settings}))
    for size in (1, 3, 8):
        (found,) = engine.run({"input": inputs}, size).values()
        np.testing.assert_allclose(found, answers(model, inputs), rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="does not take 'input'"):
        engine.run({"input": samples(9)}, 9)


@pytest.mark.gpu
@pytest.mark.tensorrt
@on_gpu
@pytest.mark.parametrize("graph", [True, False])
def test_engines_are_timed(graph):
    engine = engine_of(small_workload().onnx(), EngineOptions())
    with engine.timer({"input": (1, 3, 12, 12)}, graph=graph) as timer:
        wall, own = timer(5)
    assert len(wall) == len(own) == 5
    assert min(wall + own) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU that torch can use")
def test_launches_are_timed_one_by_one():
    device = torch.device("cuda", torch.cuda.current_device())
    one = torch.ones(64, device=device)
    runs = []
    with launched(lambda: runs.append(one.add_(1)), device) as timer:
        before = len(runs)
        wall, own = timer(4)
    assert len(runs) == before + 4
    assert min(wall) > 0
    assert min(own) > 0

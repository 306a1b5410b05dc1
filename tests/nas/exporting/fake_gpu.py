"""A GPU with TensorRT that is not there, for what is around it."""

from contextlib import nullcontext
from types import SimpleNamespace

import torch

from hardware_profiles.profile_device import timed
from hardware_profiles.target import Target
from nas.exporting import plan
from nas.exporting.parity import run_onnx
from tests.nas.exporting.test_plan_info import H200


class FakeEngine:
    """Answers as ONNX Runtime does, but for `error`; refuses batches beyond 4."""

    error = 0.0
    asked: list[tuple[str, object]]

    def __init__(self, trt, log, engine, device):
        self.engine = engine

    def run(self, samples, batch_size):
        assert batch_size <= 4
        self.asked.append(("run", batch_size))
        found = run_onnx(self.engine, samples, batch_size)
        return {name: one + self.error for name, one in found.items()}

    def timer(self, shapes, *, graph):
        self.asked.append(("graph" if graph else "launched", shapes["input"]))
        return nullcontext(timed(lambda: sum(range(100))))


def pretend_gpu(monkeypatch):
    """Stand in for the library, torch's part and the building: an engine is the ONNX file itself.

    Returns what records as `built` the options of every build and whether loaded code was trusted.
    """
    FakeEngine.asked = []
    built: list[object] = []
    monkeypatch.setattr(plan, "gpu_setup", lambda: H200)
    monkeypatch.setattr(plan, "import_tensorrt", lambda purpose: SimpleNamespace())
    monkeypatch.setattr(plan, "cuda_device", lambda purpose: torch.device("cpu"))
    monkeypatch.setattr(
        plan, "error_log", lambda trt: SimpleNamespace(last=lambda: "it was damaged")
    )
    monkeypatch.setattr(plan, "start_runtime", lambda trt, log: None)
    monkeypatch.setattr(plan, "Engine", FakeEngine)
    monkeypatch.setattr(plan, "BUDGET_PASSES", 2)

    def build(trt, log, model, options, specs):
        built.append(options)
        return model

    def load(runtime, serialised, *, host_code):
        built.append(host_code)
        return serialised or None

    def target(settings, device, runtime, version, notes, provider):
        return Target(
            device=H200.gpu,
            runtime=runtime,
            runtime_version=version,
            provider=provider,
            precision=settings.precision,
            batch_size=settings.batch_size,
            notes=notes,
        )

    monkeypatch.setattr(plan, "build_engine", build)
    monkeypatch.setattr(plan, "deserialize", load)
    monkeypatch.setattr(plan, "cuda_target", target)
    return SimpleNamespace(built=built)

"""A stand-in for NVIDIA's library: builds and loads nothing, and records what it is told."""

import json
from types import SimpleNamespace

import onnx


class Logger:
    INTERNAL_ERROR, ERROR, WARNING = "internal", "error", "warning"


class FakeTensorRT:
    """Has what `build_engine` uses; a "serialised engine" is JSON of all that it was told.

    Args:
        levels: of hardware compatibility that it knows.
        refuses: what fails: "driver", "model", "build", "engines" (loading them) or "timings" (of
            another machine).
    """

    __version__ = "11.4.0.106"
    ILogger = Logger
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(TF32="tf32", VERSION_COMPATIBLE="version compatible")
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)

    def __init__(self, levels=("AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"), refuses=()):
        self.HardwareCompatibilityLevel = SimpleNamespace(**{one: one for one in levels})
        self.refuses = refuses
        self.Builder = lambda log: Builder(self, log)
        self.OnnxParser = lambda network, log: Parser(self, network)
        self.Runtime = self._runtime

    def _runtime(self, log):
        if "driver" in self.refuses:
            log.log(Logger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("factory function returned nullptr")
        refused = "engines" in self.refuses
        return SimpleNamespace(
            deserialize_cuda_engine=lambda plan: None if refused else plan or None
        )


class Builder:
    def __init__(self, trt, log):
        self.trt, self.log, self.told = trt, log, {}
        if "driver" in trt.refuses:
            log.log(Logger.INTERNAL_ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("factory function returned nullptr")

    def create_network(self, flags):
        self.told["network flags"] = flags
        return Network()

    def create_builder_config(self):
        return Config(self.trt, self.told)

    def create_optimization_profile(self):
        shapes = self.told.setdefault("shapes", {})
        return SimpleNamespace(set_shape=lambda name, *three: shapes.update({name: three}))

    def build_serialized_network(self, network, config):
        if "build" in self.trt.refuses:
            self.log.log(Logger.ERROR, "no kernel fits")
            self.log.log(Logger.WARNING, "something else")
            return None
        return memoryview(json.dumps(self.told).encode())


class Network:
    inputs = ()

    @property
    def num_inputs(self):
        return len(self.inputs)

    def get_input(self, i):
        return self.inputs[i]


class Parser:
    num_errors = 2

    def __init__(self, trt, network):
        self.trt, self.network = trt, network

    def parse(self, model):
        if "model" in self.trt.refuses:
            return False
        self.network.inputs = [
            SimpleNamespace(
                name=value.name,
                shape=[
                    d.dim_value if d.HasField("dim_value") else -1
                    for d in value.type.tensor_type.shape.dim
                ],
            )
            for value in onnx.load_from_string(model).graph.input
        ]
        return True

    def get_error(self, i):
        return SimpleNamespace(desc=lambda: f"error {i}")


class Config:
    def __init__(self, trt, told):
        self.trt, self.told, self.timings = trt, told, None
        told |= {"set": [], "cleared": [], "profiles": 0, "level": None}

    def set_memory_pool_limit(self, pool, size):
        self.told["pool"] = [pool, size]

    def set_flag(self, flag):
        self.told["set"].append(flag)

    def clear_flag(self, flag):
        self.told["cleared"].append(flag)

    @property
    def hardware_compatibility_level(self):
        return self.told["level"]

    @hardware_compatibility_level.setter
    def hardware_compatibility_level(self, level):
        self.told["level"] = level

    def add_optimization_profile(self, profile):
        self.told["profiles"] += 1

    def create_timing_cache(self, known):
        return known

    def set_timing_cache(self, timings, ignore_mismatch):
        assert ignore_mismatch is False
        if timings and "timings" in self.trt.refuses:
            return False
        self.told["timings"] = timings.decode()
        self.timings = timings
        return True

    def get_timing_cache(self):
        return SimpleNamespace(serialize=lambda: memoryview(self.timings + b"+"))

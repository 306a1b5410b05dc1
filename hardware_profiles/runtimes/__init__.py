"""What times networks: one file per runtime, each loaded when it is built."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces import unknown_name

if TYPE_CHECKING:  # both load torch
    from hardware_profiles.runtimes.runtime import Runtime, RuntimeSettings


def _onnxruntime(settings: "RuntimeSettings") -> "Runtime":
    from hardware_profiles.runtimes.onnx_runtime import OnnxRuntime

    return OnnxRuntime(settings)


def _torch_cpu(settings: "RuntimeSettings") -> "Runtime":
    from hardware_profiles.runtimes.torch_cpu import TorchCpu

    return TorchCpu(settings)


def _torch_cuda(settings: "RuntimeSettings") -> "Runtime":
    from hardware_profiles.runtimes.torch_cuda import TorchCuda

    return TorchCuda(settings)


def _tensorrt(settings: "RuntimeSettings") -> "Runtime":
    from hardware_profiles.runtimes.tensorrt import TensorRT

    return TensorRT(settings)


RUNTIMES: dict[str, Callable[["RuntimeSettings"], "Runtime"]] = {
    "onnxruntime": _onnxruntime,
    "torch-cpu": _torch_cpu,
    "torch-cuda": _torch_cuda,
    "tensorrt": _tensorrt,
}
"""The catalogue: name -> builder(settings)."""


def build_runtime(name: str, settings: "RuntimeSettings") -> "Runtime":
    """Build a runtime of the catalogue.

    Raises:
        InputError: an unknown name (the nearest valid one is named), a setting that the runtime
            refuses, or a device that is not there.
        MissingExtraError: its library is not installed.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, RUNTIMES)
    return RUNTIMES[name](settings)

"""What `nas doctor` tells: libraries, extras, and what this machine can profile."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from rich.markup import escape
from rich.table import Table

from hardware_profiles.profile_device import processor_name
from hardware_profiles.runtimes.nvidia_driver import driver_version

REQUIRED = ("torch", "numpy", "scikit-learn", "pymoo", "onnx", "onnxruntime", "safetensors")
EXTRAS = {
    "data": ("datasets pillow", "Hugging Face datasets: hub names, parquet files, image folders"),
    "tensorboard": ("tensorboard", "curves of a training while it runs (training.tensorboard)"),
    "tensorrt": ("tensorrt", "profiles and exported engines of TensorRT, on an NVIDIA GPU"),
    "energy": ("nvidia-ml-py", "energy of a run in profiles, on an NVIDIA GPU"),
}


def diagnose() -> dict[str, Any]:
    """Look at the installation; nothing heavy is imported but onnxruntime."""
    return {
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in REQUIRED},
        "extras": {
            extra: {"version": _version(needs.split()[0]), "needs": needs, "adds": adds}
            for extra, (needs, adds) in EXTRAS.items()
        },
        "device": processor_name(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "can_profile": _providers(),
        "tensorrt_export_lacks": tensorrt_export_lacks(),
    }


def tensorrt_export_lacks() -> list[str]:
    """Name what is not here that exporting TensorRT engines needs; nothing is imported for it."""
    lacks = []
    if _version("tensorrt") is None and find_spec("tensorrt") is None:
        lacks.append('the extra "tensorrt": pip install "supernet-engine[tensorrt]"')
    if driver_version() == "unknown":
        lacks.append("an NVIDIA GPU with its driver")
    if (_version("torch") or "+cpu").endswith("+cpu"):
        lacks.append("a torch that is built with CUDA")
    return lacks


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _providers() -> list[str]:
    """Name what profiles can be made with here."""
    if _version("onnxruntime") is None:
        return []
    import onnxruntime

    # Azure's sends requests to a server: nothing of it runs here
    found = [n for n in onnxruntime.get_available_providers() if n != "AzureExecutionProvider"]
    names = [f"onnxruntime {name}" for name in found]
    return [*names, "torch-cpu"] if _version("torch") else names


def doctor_table(diagnosis: dict[str, Any]) -> Table:
    """Lay a diagnosis out as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("Python", diagnosis["python"])
    for name, found in diagnosis["libraries"].items():
        table.add_row(name, found or f"missing: pip install {name}")
    for extra, about in diagnosis["extras"].items():
        install = f"missing: pip install {about['needs']} adds {about['adds']}"
        table.add_row(f"extra {extra}", escape(about["version"] or install))
    table.add_row("this machine", f"{diagnosis['device']}, {diagnosis['cpus']} CPUs")
    lacks = "; ".join(diagnosis["tensorrt_export_lacks"])
    table.add_row("TensorRT export", escape(f"lacks {lacks}" if lacks else "possible"))
    table.add_row("can profile", ", ".join(diagnosis["can_profile"]) or "nothing")
    return table

"""What `nas doctor` tells: libraries, extras, and what this machine can profile."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.markup import escape
from rich.table import Table

from hardware_profiles.profile_device import processor_name

REQUIRED = ("torch", "numpy", "scikit-learn", "pymoo", "onnx", "onnxruntime", "safetensors")
EXTRAS = {
    "data": ("datasets pillow", "Hugging Face datasets: hub names, parquet files, image folders"),
    "tensorboard": ("tensorboard", "curves of a training while it runs (training.tensorboard)"),
    "tensorrt": ("tensorrt", "profiles under TensorRT, on an NVIDIA GPU"),
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
    }


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
    table.add_row("can profile", ", ".join(diagnosis["can_profile"]) or "nothing")
    return table

"""NVIDIA's driver, as Linux tells of it."""

from pathlib import Path


def driver_version(module: Path = Path("/sys/module/nvidia/version")) -> str:
    """Return the version of NVIDIA's kernel module, "unknown" where it cannot be read."""
    try:
        return module.read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"

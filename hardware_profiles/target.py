"""What a latency was measured on: a number means nothing without all of it."""

import platform
from pathlib import Path
from typing import Literal

from pydantic import Field

from hardware_profiles.artifact import Frozen, content_hash

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Target(Frozen):
    """Device, runtime and setting of a measurement."""

    device: str = Field(min_length=1)
    runtime: str = Field(min_length=1)
    runtime_version: str
    provider: str
    precision: Precision = "fp32"
    batch_size: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    operating_system: str = "unknown"
    notes: str = ""

    @property
    def id(self) -> str:
        """Short name, equal where everything that makes latencies comparable is equal."""
        return content_hash(self.model_dump(exclude={"notes"}))[:10]

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return (
            f"{self.device}, {self.runtime} {self.runtime_version} {self.provider}, "
            f"{self.precision}, batch {self.batch_size}, {threads}"
        )


def this_machine(threads: int = 1) -> Target:
    """Describe this machine under ONNX Runtime's CPU provider, fp32, batch 1."""
    import onnxruntime

    return Target(
        device=processor_name(),
        runtime="onnxruntime",
        runtime_version=onnxruntime.__version__,
        provider="CPUExecutionProvider",
        threads=threads,
        operating_system=f"{platform.system()} {platform.machine()}",
        notes=f"kernel {platform.release()}",
    )


def processor_name() -> str:
    """Return the board or the CPU model as the operating system names it."""
    board = Path("/proc/device-tree/model")  # ARM boards, whose cpuinfo has no model name
    if board.exists():
        return board.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"

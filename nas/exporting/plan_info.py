"""What an exported engine holds for, and whether that is so here. Needs neither torch nor TensorRT.

An engine runs in the TensorRT version and on the kind of GPU that it was built with; options of
the build widen that, by the rules of NVIDIA's documentation ("engine compatibility").
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hardware_profiles.artifact import Frozen
from hardware_profiles.runtimes.tensorrt_build import AMPERE
from hardware_profiles.runtimes.tensorrt_options import BatchRange, HardwareCompatible
from hardware_profiles.target import Precision, Printable
from search_spaces import InputError

LEAST_VERSION, UNKNOWN_MAJOR = (10, 3), 12  # TensorRT's that engines are built with
NEXT_MAJOR = {10: 11}  # that runs version-compatible engines of the one before
BF16 = (8, 0)  # the least compute capability
UNKNOWN = "unknown"


def _check_version(text: str) -> str:
    if not version_numbers(text):
        raise InputError(f"expected a version like 11.4.0.106, got {text!r}")
    return text


Version = Annotated[str, Field(max_length=60), AfterValidator(_check_version)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class GpuSetup(Frozen):
    """A GPU and the software that engines depend on."""

    gpu: Printable
    compute_capability: tuple[int, int]
    tensorrt_version: Version
    driver_version: Printable = UNKNOWN  # of NVIDIA's kernel module
    platform: Printable  # "Linux x86_64"

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return (
            f"{self.gpu} (compute capability {major}.{minor}), TensorRT {self.tensorrt_version}, "
            f"driver {self.driver_version}, {self.platform}"
        )


class PlanInfo(Frozen):
    """What a serialised engine is and holds for: a part of a manifest."""

    built_on: GpuSetup
    onnx_sha256: Sha256  # of the file it was built from
    precision: Precision
    batch: BatchRange
    inputs: Mapping[str, tuple[int, ...]]  # sizes behind the batch
    free: bool  # the ONNX file leaves the batch or other sizes free
    tf32: Literal[False] = False
    workspace_mb: int
    version_compatible: bool
    hardware_compatible: HardwareCompatible


def check_plan_fits(info: PlanInfo, here: GpuSetup) -> None:
    """Refuse an engine that does not run here, or not as it was measured.

    Without options it needs the same model of GPU and the same TensorRT, to the build. A
    version-compatible one runs in later TensorRTs of the same major version, and one of 10 in 11; a
    hardware-compatible one on GPUs of the same compute capability, or from 8.0 on. A driver of an
    earlier branch is refused, since nothing says that it runs newer kernels; one that is unknown is
    let pass.

    Raises:
        InputError: all that does not fit, in one message.
    """
    reasons = [
        reason
        for reason in (
            _platform_reason(info, here),
            _gpu_reason(info, here),
            _version_reason(info, here),
            _driver_reason(info, here),
        )
        if reason
    ]
    if reasons:
        raise InputError(
            f"this engine does not fit this machine: {'; '.join(reasons)}. Build it anew here from "
            "its ONNX file"
        )


def check_can_build(setup: GpuSetup, precision: Precision, level: HardwareCompatible) -> None:
    """Refuse what this GPU or this TensorRT cannot build.

    Raises:
        InputError: bf16 or "ampere-plus" before compute capability 8.0; another TensorRT than 10.3
            to 11.
    """
    version = version_numbers(setup.tensorrt_version)
    if version < LEAST_VERSION or version[0] >= UNKNOWN_MAJOR:
        raise InputError(f"expected TensorRT 10.3 to 11, got {setup.tensorrt_version}")
    named = f"{setup.gpu} has compute capability {_dotted(setup.compute_capability)}"
    if precision == "bf16" and setup.compute_capability < BF16:
        raise InputError(f"bf16 needs compute capability 8.0, {named}: take fp16 or fp32")
    if level == "ampere-plus" and setup.compute_capability < AMPERE:
        raise InputError(f"ampere-plus engines are built from compute capability 8.0 on, {named}")


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version: "10.13.3.9.post1" is (10, 13, 3, 9)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def _platform_reason(info: PlanInfo, here: GpuSetup) -> str | None:
    built = info.built_on.platform
    return None if built == here.platform else f"it was built on {built}, this is {here.platform}"


def _gpu_reason(info: PlanInfo, here: GpuSetup) -> str | None:
    built, level = info.built_on, info.hardware_compatible
    found = _dotted(here.compute_capability)
    if level == "ampere-plus":
        if here.compute_capability >= AMPERE:
            return None
        return f"it runs from compute capability 8.0 on, {here.gpu} has {found}"
    if built.compute_capability != here.compute_capability:
        wanted = _dotted(built.compute_capability)
        return f"it runs on compute capability {wanted} ({built.gpu}) alone, {here.gpu} has {found}"
    if level == "none" and built.gpu != here.gpu:
        return (
            f"it was built for {built.gpu}, this is {here.gpu} (the same compute capability: one "
            "that is hardware-compatible would run)"
        )
    return None


def _version_reason(info: PlanInfo, here: GpuSetup) -> str | None:
    built, found = info.built_on.tensorrt_version, here.tensorrt_version
    old, new = version_numbers(built), version_numbers(found)
    if old == new:
        return None
    if not info.version_compatible:
        return f"it was built by TensorRT {built} and runs in no other version, this is {found}"
    if new < old:
        return f"it was built by TensorRT {built} and runs in no earlier version, this is {found}"
    if new[0] not in (old[0], NEXT_MAJOR.get(old[0])):
        majors = " and ".join(map(str, filter(None, (old[0], NEXT_MAJOR.get(old[0])))))
        return f"it was built by TensorRT {built} and runs in {majors} alone, this is {found}"
    return None


def _driver_reason(info: PlanInfo, here: GpuSetup) -> str | None:
    built, found = info.built_on.driver_version, here.driver_version
    old, new = version_numbers(built), version_numbers(found)
    if not old or not new or new[0] >= old[0]:
        return None
    return f"it was built with driver {built} and needs one from {old[0]} on, this is {found}"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))

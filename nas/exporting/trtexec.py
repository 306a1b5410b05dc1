"""The same engine by NVIDIA's command `trtexec`, as text. Runs nothing."""

import shlex
from collections.abc import Mapping

from hardware_profiles.runtimes.tensorrt_options import HardwareCompatible
from nas.exporting.plan_info import PlanInfo

LEVELS: Mapping[HardwareCompatible, str] = {
    "same-compute-capability": "sameComputeCapability",
    "ampere-plus": "ampere+",
}
WARM_UP_MS = 200


def build_command(
    info: PlanInfo, onnx_file: str, plan_file: str, timing_cache: str | None = None
) -> str:
    """Return the command that builds an engine like this one, for a shell.

    Types come from the file: no precision is named. TensorRT 11 takes --stronglyTyped and does not
    need it, 10 does.
    """
    words = ["trtexec", f"--onnx={onnx_file}", f"--saveEngine={plan_file}"]
    words += ["--stronglyTyped", "--noTF32", f"--memPoolSize=workspace:{info.workspace_mb}"]
    if info.free:  # trtexec refuses shapes of a file that fixes all
        batch = info.batch
        for option, size in (("min", batch.least), ("opt", batch.typical), ("max", batch.most)):
            words.append(f"--{option}Shapes={_shapes(info, size)}")
    if info.version_compatible:
        words.append("--versionCompatible")
    if info.hardware_compatible != "none":
        words.append(f"--hardwareCompatibilityLevel={LEVELS[info.hardware_compatible]}")
    if timing_cache is not None:
        words.append(f"--timingCacheFile={timing_cache}")
    return shlex.join([*words, "--skipInference"])


def time_command(
    info: PlanInfo, plan_file: str, batch_size: int | None = None, *, graph: bool = True
) -> str:
    """Return the command that times an engine by the rules its latency was measured by.

    Args:
        batch_size: by default the typical one.
        graph: replay a CUDA graph instead of launching every run.
    """
    words = ["trtexec", f"--loadEngine={plan_file}"]
    if info.free:
        words.append(f"--shapes={_shapes(info, batch_size or info.batch.typical)}")
    if info.version_compatible:  # so that it may run the code in the engine
        words.append("--versionCompatible")
    if graph:
        words.append("--useCudaGraph")
    return shlex.join([*words, "--noDataTransfers", f"--warmUp={WARM_UP_MS}"])


def _shapes(info: PlanInfo, batch_size: int) -> str:
    return ",".join(
        f"{name}:{'x'.join(map(str, (batch_size, *sizes)))}" for name, sizes in info.inputs.items()
    )

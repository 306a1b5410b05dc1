"""A workload as torch runs it, and the settings that only some runtimes know."""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from search_spaces import InputError, TensorSpec

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
INPUT_SEED = 0


def check_settings(
    runtime: str, settings: RuntimeSettings, precisions: Collection[str], *, on_gpu: bool
) -> None:
    """Refuse what a runtime would have to ignore.

    Raises:
        InputError: a precision it does not have, a provider, or threads of a GPU.
    """
    if settings.precision not in precisions:
        raise InputError(
            f"{runtime} is profiled in {' or '.join(precisions)}, got {settings.precision}"
        )
    if settings.provider:
        raise InputError(
            f"{runtime} has no providers, got {settings.provider!r}; they are of onnxruntime"
        )
    if on_gpu and settings.threads != 1:
        raise InputError(f"{runtime} runs on a GPU: expected threads 1, got {settings.threads}")


def load(
    workload: Workload, batch_size: int, dtype: torch.dtype, device: torch.device
) -> tuple[nn.Module, list[Tensor]]:
    """Make the network and its inputs where they are to run, images in channels-last order."""
    module = workload.module().eval().to(device=device, dtype=dtype)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return module, random_inputs(workload.inputs.values(), batch_size, dtype, device)


def random_inputs(
    specs: Iterable[TensorSpec],
    batch_size: int,
    dtype: torch.dtype,
    device: torch.device,
    memory_format: torch.memory_format = torch.channels_last,
) -> list[Tensor]:
    """Draw standard normal inputs, `batch_size x shape` each, 4-d ones in `memory_format`; zeros
    and ones where integers are taken.
    """
    generator = torch.Generator().manual_seed(INPUT_SEED)
    inputs = []
    for spec in specs:
        shape = (batch_size, *spec.shape)
        if spec.dtype == "int64":
            inputs.append(torch.randint(0, 2, shape, generator=generator).to(device))
            continue
        layout = memory_format if len(shape) == 4 else torch.contiguous_format
        normal = torch.randn(shape, generator=generator)
        inputs.append(normal.to(device, dtype).contiguous(memory_format=layout))
    return inputs

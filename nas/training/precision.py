"""The precision of forward passes: fp32, or bf16 where the device has it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from nas.task import Outputs
from search_spaces import InputError

Precision = Literal["fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context for forward passes; losses are computed outside, on `in_fp32` outputs.

    Weights, their gradients and the sums within an operation stay in fp32. The range of bf16 is
    that of fp32, so losses need no scaling (arXiv:1905.12322).
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def in_fp32(outputs: Outputs) -> Outputs:
    """Return outputs in fp32: with the 8 bits of bf16, softmax and its logarithm lose too much."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float()
    return tuple(one.float() for one in outputs)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device computes in a precision itself; emulated, it would be slower than fp32.

    Raises:
        InputError: bf16 on a device without it.
    """
    if precision == "bf16" and not _has_bf16(device):
        raise InputError(
            f"training.precision bf16: this machine's {device.type} has no bf16 arithmetic; "
            "set it to fp32"
        )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()  # "bf16" is what Arm calls it
    return device.type == "cpu" and any(
        bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16")
    )

"""Types of int8 networks by what computes them."""

import platform
from dataclasses import dataclass
from pathlib import Path

VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True)
class Scheme:
    """Types of activations and weights; weights are signed, symmetric and per output channel.

    Args:
        signed_activations: S8 instead of U8.
        symmetric_activations: with a zero point of 0.
        reduce_range: weights of 7 bits: sums of two products of 8 bits overflow without VNNI.
        quantised_biases: int32 instead of fp32.
        shared_pairs: nodes that read one tensor share its quantisation.
        float_stem: convolutions of the network's own few channels stay fp32: their integer kernel
            is the slower one (measured with ONNX Runtime 1.32 on x86).
    """

    signed_activations: bool = False
    symmetric_activations: bool = False
    reduce_range: bool = False
    quantised_biases: bool = True
    shared_pairs: bool = True
    float_stem: bool = False


SCHEMES: dict[str, Scheme] = {
    "x86-vnni": Scheme(float_stem=True),
    "x86": Scheme(reduce_range=True, float_stem=True),
    "arm": Scheme(signed_activations=True),
    "tensorrt": Scheme(
        signed_activations=True,
        symmetric_activations=True,
        quantised_biases=False,
        shared_pairs=False,
    ),
}


def scheme_here() -> str:
    """Name the scheme of this machine's processor; "x86" where its instructions are unknown."""
    return scheme_of(platform.machine(), _flags())


def scheme_of(machine: str, flags: frozenset[str]) -> str:
    """Name the scheme of a processor by its architecture and flags as Linux lists them."""
    if machine.lower().startswith(("arm", "aarch")):
        return "arm"
    return "x86-vnni" if flags & VNNI_FLAGS else "x86"


def _flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())

"""How far apart outputs may be before a file is refused. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware_profiles.artifact import Frozen
from hardware_profiles.profile_device import onnx_session
from search_spaces.errors import ParityError

LIMIT = 1e-4  # fp32; relative to the greatest value of an output where that exceeds 1
LEAST_LIMIT = 1e-30
MIN_TOP1_AGREEMENT = 0.999
Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]  # by name of input or output


class Parity(Frozen):
    """How far two sets of outputs of n samples are apart: of several, the one closest to its
    limit.
    """

    max_abs_difference: float
    limit: float
    top1_agreement: float | None  # None where the output is no b x classes logits
    n: int

    @property
    def ok(self) -> bool:
        """Tell whether both limits are kept."""
        agrees = self.top1_agreement is None or self.top1_agreement >= MIN_TOP1_AGREEMENT
        return self.max_abs_difference <= self.limit and agrees


def compare(outputs: Arrays, reference: Arrays, classification: bool = True) -> Parity:
    """Compare outputs, each n x ..., with those of the reference.

    Args:
        classification: there is one output, n x classes logits, whose best class is compared too.

    Raises:
        ParityError: they differ in name or shape, there are none, or they are not finite.
    """
    if list(outputs) != list(reference) or not reference:
        raise ParityError(f"expected outputs {list(reference)}, got {list(outputs)}")
    parities = [_compare(outputs[n], reference[n], classification) for n in reference]
    return max(parities, key=lambda p: p.max_abs_difference / max(p.limit, LEAST_LIMIT))


def _compare(found: Array, reference: Array, classification: bool) -> Parity:
    if found.shape != reference.shape or not found.size:
        raise ParityError(f"expected outputs {reference.shape}, got {found.shape}")
    if not (np.isfinite(found).all() and np.isfinite(reference).all()):
        raise ParityError("outputs are not finite")
    agreement = None
    if classification and found.ndim == 2:
        agreement = float((found.argmax(axis=1) == reference.argmax(axis=1)).mean())
    return Parity(
        max_abs_difference=float(np.abs(found - reference).max()),
        limit=LIMIT * max(1.0, float(np.abs(reference).max())),
        top1_agreement=agreement,
        n=len(found),
    )


def run_onnx(model: bytes | str, inputs: Arrays, batch_size: int) -> dict[str, Array]:
    """Run n samples through a model in batches; return its outputs by name, each n x ...

    Raises:
        ParityError: the model takes other inputs.
    """
    session = onnx_session(model)
    wanted = [node.name for node in session.get_inputs()]
    if sorted(wanted) != sorted(inputs):
        raise ParityError(f"expected a model of inputs {sorted(inputs)}, got {sorted(wanted)}")
    names = [node.name for node in session.get_outputs()]
    contiguous = {name: np.ascontiguousarray(one) for name, one in inputs.items()}
    n = len(next(iter(contiguous.values())))
    batches = [
        session.run(names, {name: one[i : i + batch_size] for name, one in contiguous.items()})
        for i in range(0, n, batch_size)
    ]
    return {name: np.concatenate([batch[i] for batch in batches]) for i, name in enumerate(names)}


def gate(parities: Sequence[tuple[str, Parity]]) -> None:
    """Raise ParityError for the first comparison beyond its limits."""
    for name, parity in parities:
        if not parity.ok:
            agreement = ""
            if parity.top1_agreement is not None:
                agreement = f", top-1 agreement {parity.top1_agreement:.2%}"
            raise ParityError(
                f"{name}: outputs differ by {parity.max_abs_difference:.3g} (limit "
                f"{parity.limit:.3g}){agreement} over {parity.n}"
            )

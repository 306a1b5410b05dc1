"""How far apart outputs may be before a file is refused. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hardware_profiles.artifact import Frozen
from hardware_profiles.profile_device import onnx_session
from hardware_profiles.target import Precision
from nas.exporting.limits import LIMITS, limits_of
from search_spaces.errors import ParityError

LIMIT = LIMITS["fp32"].difference
LEAST_LIMIT = 1e-30
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
    least_top1: float = LIMITS["fp32"].top1
    clear_agreement: float | None = None  # None where no sample has a clear best class
    least_clear: float = LIMITS["fp32"].clear_top1

    @property
    def ok(self) -> bool:
        """Tell whether all limits are kept."""
        agrees = self.top1_agreement is None or self.top1_agreement >= self.least_top1
        clear = self.clear_agreement is None or self.clear_agreement >= self.least_clear
        return self.max_abs_difference <= self.limit and agrees and clear


def compare(
    outputs: Arrays,
    reference: Arrays,
    classification: bool = True,
    precision: Precision = "fp32",
    random: bool = False,
) -> Parity:
    """Compare outputs, each n x ..., with those of the reference.

    Args:
        classification: there is one output, n x classes logits, whose best class is compared too.
        precision: of what gave the outputs, which says how far they may be apart.
        random: the inputs were random, so that few best classes are clear.

    Raises:
        ParityError: they differ in name or shape, there are none, or they are not finite.
    """
    if list(outputs) != list(reference) or not reference:
        raise ParityError(f"expected outputs {list(reference)}, got {list(outputs)}")
    parities = [
        _compare(outputs[name], reference[name], classification, precision, random)
        for name in reference
    ]
    return max(parities, key=lambda p: p.max_abs_difference / max(p.limit, LEAST_LIMIT))


def _compare(
    found: Array, reference: Array, classification: bool, precision: Precision, random: bool
) -> Parity:
    if found.shape != reference.shape or not found.size:
        raise ParityError(f"expected outputs {reference.shape}, got {found.shape}")
    if not (np.isfinite(found).all() and np.isfinite(reference).all()):
        raise ParityError("outputs are not finite")
    limits, scale = limits_of(precision), max(1.0, float(np.abs(reference).max()))
    held = not random or limits.on_random
    agreement, clear_agreement = None, None
    if classification and found.ndim == 2:
        same = found.argmax(axis=1) == reference.argmax(axis=1)
        agreement = float(same.mean())
        clear = same[_margins(reference) > limits.clear_margin * scale]
        clear_agreement = float(clear.mean()) if clear.size else None
    return Parity(
        max_abs_difference=float(np.abs(found - reference).max()),
        limit=limits.difference * scale,
        top1_agreement=agreement,
        n=len(found),
        least_top1=0.0 if random else limits.top1,
        clear_agreement=clear_agreement,
        least_clear=limits.clear_top1 if held else 0.0,
    )


def _margins(logits: Array) -> Array:
    """Return by how much the best class leads: n, infinite where there is one class."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    best = np.partition(logits, -2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def run_onnx(model: bytes | str, inputs: Arrays, batch_size: int) -> dict[str, Array]:
    """Run n samples through a model in batches; return its outputs by name, each n x ...

    Raises:
        ParityError: the model takes other inputs.
    """
    return run_session(onnx_session(model), inputs, batch_size)


def run_session(session: Any, inputs: Arrays, batch_size: int) -> dict[str, Array]:
    """Run n samples through an open session, as `run_onnx` does.

    The last batch is filled up with its last sample where the model takes whole batches only.
    """
    wanted = [node.name for node in session.get_inputs()]
    if sorted(wanted) != sorted(inputs):
        raise ParityError(f"expected a model of inputs {sorted(inputs)}, got {sorted(wanted)}")
    names = [node.name for node in session.get_outputs()]
    contiguous = {name: np.ascontiguousarray(one) for name, one in inputs.items()}
    n = len(next(iter(contiguous.values())))
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else batch_size
    if isinstance(fixed, int) and n % fixed:
        index = np.minimum(np.arange(-(-n // fixed) * fixed), n - 1)
        contiguous = {name: one[index] for name, one in contiguous.items()}
    batches = [
        session.run(names, {name: one[i : i + size] for name, one in contiguous.items()})
        for i in range(0, n, size)
    ]
    whole = [np.concatenate([batch[i] for batch in batches])[:n] for i in range(len(names))]
    return dict(zip(names, whole, strict=True))


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

"""How far apart outputs may be before a file is refused. Needs no torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hardware_profiles.artifact import Frozen
from hardware_profiles.profile_device import onnx_session
from search_spaces.errors import ParityError

LIMIT = 1e-4  # fp32; relative to the greatest logit where that exceeds 1
MIN_TOP1_AGREEMENT = 0.999
Array = npt.NDArray[np.float32]


class Parity(Frozen):
    """How far two sets of n x classes logits are apart."""

    max_abs_difference: float
    limit: float
    top1_agreement: float
    n: int

    @property
    def ok(self) -> bool:
        """Tell whether both limits are kept."""
        return self.max_abs_difference <= self.limit and self.top1_agreement >= MIN_TOP1_AGREEMENT


def compare(logits: Array, reference: Array) -> Parity:
    """Compare n x classes logits with those of the reference.

    Raises:
        ParityError: they differ in shape, there are none, or they are not finite.
    """
    if logits.shape != reference.shape or not logits.size:
        raise ParityError(f"expected outputs {reference.shape}, got {logits.shape}")
    if not (np.isfinite(logits).all() and np.isfinite(reference).all()):
        raise ParityError("outputs are not finite")
    limit = LIMIT * max(1.0, float(np.abs(reference).max()))
    difference = float(np.abs(logits - reference).max())
    agreement = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
    return Parity(
        max_abs_difference=difference, limit=limit, top1_agreement=agreement, n=len(logits)
    )


def run_onnx(model: bytes | str, images: Array, batch_size: int) -> Array:
    """Run n x c x h x w images through a model in batches; n x classes logits."""
    session = onnx_session(model)
    name = session.get_inputs()[0].name
    contiguous = np.ascontiguousarray(images, dtype=np.float32)
    batches = [contiguous[i : i + batch_size] for i in range(0, len(contiguous), batch_size)]
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


def gate(parities: Sequence[tuple[str, Parity]]) -> None:
    """Raise ParityError for the first comparison beyond its limits."""
    for name, parity in parities:
        if not parity.ok:
            raise ParityError(
                f"{name}: outputs differ by {parity.max_abs_difference:.3g} (limit "
                f"{parity.limit:.3g}), top-1 agreement {parity.top1_agreement:.2%} over {parity.n}"
            )

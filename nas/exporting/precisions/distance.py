"""How far outputs of a converted model lie from those of the model it was made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardware_profiles.profile_device import onnx_session
from nas.exporting.parity import Array

Batches = Sequence[Mapping[str, Array]]  # of inputs by name


def answers(model: bytes, batches: Batches) -> list[Array]:
    """Return all outputs, those of all batches in one array each."""
    session = onnx_session(model)
    found: list[list[Any]] = [session.run(None, dict(batch)) for batch in batches]
    return [np.concatenate([one[i] for one in found]) for i in range(len(found[0]))]


def distance(outputs: Sequence[Array], exact: Sequence[Array]) -> float:
    """Greatest root mean square difference of an output, relative to the output's own."""
    return max(
        float(np.sqrt(np.mean((found - one) ** 2) / max(np.mean(one**2), 1e-30)))
        for found, one in zip(outputs, exact, strict=True)
    )

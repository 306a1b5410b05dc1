"""What every distinct layer spec costs, as tables that populations are looked up in."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_spec import BYTES_PER_ELEMENT, LayerSpec

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SpecCosts:
    """Tables with a row for every spec, after row 0, which is "no layer"."""

    macs: Table  # 1 + specs
    num_params: Table  # 1 + specs
    peak_bytes: Table  # (1 + specs) x 4: column (first input kept) + 2 * (second input kept)
    input_bytes: Table  # (1 + specs) x most inputs
    output_bytes: Table  # 1 + specs


def spec_costs(specs: Sequence[LayerSpec]) -> SpecCosts:
    """Evaluate the formulas of every spec."""
    inputs = [[_bytes(tensor) for tensor in spec.inputs] for spec in specs]
    n = 1 + len(specs)
    costs = SpecCosts(
        macs=np.zeros(n),
        num_params=np.zeros(n),
        peak_bytes=np.zeros((n, 4)),
        input_bytes=np.zeros((n, max(map(len, inputs), default=1))),
        output_bytes=np.zeros(n),
    )
    for i, (spec, sizes) in enumerate(zip(specs, inputs, strict=True), start=1):
        kind, values = LAYER_KINDS[spec.kind], spec.values
        costs.macs[i] = kind.macs(values)
        costs.num_params[i] = kind.num_params(values)
        for column in range(4):
            kept = (bool(column & 1), bool(column & 2))
            costs.peak_bytes[i, column] = kind.peak_elements(values, kept) * BYTES_PER_ELEMENT
        costs.input_bytes[i, : len(sizes)] = sizes
        costs.output_bytes[i] = kind.output_elements(values) * BYTES_PER_ELEMENT
    return costs


def _bytes(tensor: TensorSpec) -> int:
    return prod(tensor.shape) * (8 if tensor.dtype == "int64" else BYTES_PER_ELEMENT)

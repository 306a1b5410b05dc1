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
MOST_FLAGS = 4
"""Inputs of which peaks tell whether they are read again later; of others they are to assume it."""


@dataclass(frozen=True)
class SpecCosts:
    """Tables with a row for every spec, after row 0, which is "no layer"."""

    macs: Table  # 1 + specs
    num_params: Table  # 1 + specs
    peak_bytes: Table  # (1 + specs) x 2^flags: column sum of 2^i over the inputs i that are kept
    input_bytes: Table  # (1 + specs) x most inputs
    output_bytes: Table  # 1 + specs


def spec_costs(specs: Sequence[LayerSpec]) -> SpecCosts:
    """Evaluate the formulas of every spec."""
    inputs = [[_bytes(tensor) for tensor in spec.inputs] for spec in specs]
    n, most_inputs = 1 + len(specs), max(map(len, inputs), default=1)
    num_flags = min(max(2, most_inputs), MOST_FLAGS)
    costs = SpecCosts(
        macs=np.zeros(n),
        num_params=np.zeros(n),
        peak_bytes=np.zeros((n, 2**num_flags)),
        input_bytes=np.zeros((n, most_inputs)),
        output_bytes=np.zeros(n),
    )
    for i, (spec, sizes) in enumerate(zip(specs, inputs, strict=True), start=1):
        kind, values = LAYER_KINDS[spec.kind], spec.values
        costs.macs[i] = kind.macs(values)
        costs.num_params[i] = kind.num_params(values)
        distinct = 2 ** min(len(sizes), num_flags)
        for column in range(distinct):
            kept = tuple(bool(column >> flag & 1) for flag in range(num_flags))
            costs.peak_bytes[i, column] = kind.peak_elements(values, kept) * BYTES_PER_ELEMENT
        costs.peak_bytes[i] = np.resize(costs.peak_bytes[i, :distinct], 2**num_flags)
        costs.input_bytes[i, : len(sizes)] = sizes
        costs.output_bytes[i] = kind.output_elements(values) * BYTES_PER_ELEMENT
    return costs


def _bytes(tensor: TensorSpec) -> int:
    return prod(tensor.shape) * (8 if tensor.dtype == "int64" else BYTES_PER_ELEMENT)

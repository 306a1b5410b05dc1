"""What no other beats, and how much of the objectives' box it covers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from predictors.predictor import Vector


def non_dominated(objectives: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the rows of `n x m` minimised objectives that no other row beats, in order."""
    return np.sort(NonDominatedSorting().do(objectives, only_non_dominated_front=True))


def hypervolume(objectives: npt.NDArray[np.float64], reference: Sequence[float] | Vector) -> float:
    """Share of the box from 0 to `reference` (m) that `n x m` minimised objectives dominate."""
    scaled = objectives / np.maximum(reference, np.finfo(np.float64).tiny)
    return float(HV(ref_point=np.ones(objectives.shape[1]))(scaled))

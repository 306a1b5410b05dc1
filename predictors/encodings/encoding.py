"""What an encoding is."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from search_spaces import Population

Matrix = npt.NDArray[np.float64]  # n x f
Encoding = Callable[[Population], Matrix]
"""Turns `n x d` architectures into `n x f` numbers; equal networks need not be equal rows."""

"""Every option of every dimension as a column."""

import numpy as np

from predictors.encodings.encoding import Encoding
from search_spaces import SearchSpace


def one_hot(space: SearchSpace) -> Encoding:
    """Return the encoding with a 1 for every option chosen; inactive dimensions are all zeros."""
    return lambda population: space.features(population).astype(np.float64)

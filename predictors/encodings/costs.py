"""What an architecture costs, whatever it is made of."""

import numpy as np

from predictors.encodings.encoding import Encoding, Matrix
from search_spaces import InputError, Population, SearchSpace


def costs(space: SearchSpace) -> Encoding:
    """Return the encoding of logarithms of MACs, parameters and activation bytes, `n x 3`.

    Raises:
        InputError: a space without layers, whose costs are not known.
    """
    if not space.slots:
        raise InputError(f"{space.name} has no layers, so no costs; take another encoding")

    def encode(population: Population) -> Matrix:
        found = space.layers.costs(population)
        columns = np.stack([found.macs, found.num_params, found.activation_bytes], axis=1)
        return np.asarray(np.log(np.maximum(columns, 1.0)))

    return encode

"""How strongly the subnets of a step are regularised."""

import numpy as np
import numpy.typing as npt

from search_spaces import Population, SearchSpace


def dropout_share(space: SearchSpace, population: Population) -> npt.NDArray[np.float64]:
    """Return the share of the dropout rate that each architecture gets, n: its parameters over
    those of the largest, as small ones overfit less (adaptive dropout, TODM, arXiv:2309.01947).
    """
    num_params = space.layers.costs(np.concatenate([space.largest(), population])).num_params
    shares: npt.NDArray[np.float64] = num_params[1:] / num_params[0]
    return shares

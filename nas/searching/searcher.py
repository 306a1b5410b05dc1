"""What a searcher is."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from search_spaces import Population


class Searcher(Protocol):
    """Proposes architectures and learns from what they cost.

    Call `ask`, evaluate, call `tell` with the same rows in the same order; repeat. An empty answer
    to `ask` means that nothing new is left to propose.
    """

    def ask(self) -> Population:
        """Return canonical architectures to evaluate, `n x d`, none of them twice in one answer."""

    def tell(
        self,
        population: Population,
        costs: npt.NDArray[np.float64],
        violations: npt.NDArray[np.float64],
    ) -> None:
        """Learn the costs (`n x m`, minimised) and violations (n, 0 is feasible) of the last
        `ask`.
        """

"""Accuracy of subnets by a forest of random trees."""

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding
from predictors.predictor import Vector
from search_spaces import SearchSpace

TREES = 150
SHARE = 0.4  # of the columns that a split looks at


class ForestAccuracy(LearnedAccuracy):
    """Extremely randomised trees (Geurts, Ernst and Wehenkel, Machine Learning, 2006).

    Every tree is grown on a bootstrap sample; what the others say of a subnet tells the error.

    Args:
        space: what populations are of.
        seed: of the trees.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _Forest, seed, features)


class _Forest:
    """The trees, and what they said of subnets they had not seen."""

    def __init__(self, blocks: Blocks, targets: Vector, seed: int) -> None:
        rows, n = beside(blocks), len(targets)
        self._trees = ExtraTreesRegressor(
            TREES, max_features=SHARE, bootstrap=True, oob_score=True, random_state=seed
        ).fit(rows, targets)
        mean = np.asarray(self._trees.oob_prediction_)
        self._error = float(np.sqrt(np.mean((mean - targets) ** 2)))
        self.held_out: Guess = mean, np.full(n, self._error)

    def predict(self, blocks: Blocks) -> Guess:
        rows = beside(blocks)
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        mean = np.asarray(self._trees.predict(rows))
        return mean, np.full(len(rows), self._error)

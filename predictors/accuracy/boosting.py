"""Accuracy of subnets by gradient boosting."""

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding
from predictors.predictor import Vector
from search_spaces import SearchSpace

FOLDS = 10
SETTINGS = {
    "n_estimators": 60,
    "learning_rate": 0.12,
    "max_depth": 3,
    "subsample": 0.7,
    "max_features": 0.2,
    "min_samples_leaf": 2,
}


class BoostingAccuracy(LearnedAccuracy):
    """Gradient-boosted trees (Friedman, Annals of Statistics, 2001) on all encodings.

    Ten models, each of which left out a tenth of the subnets: their mean is the guess, and what
    each said of its tenth tells the error.

    Args:
        space: what populations are of.
        seed: of folds and trees.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _Boosting, seed, features)


class _Boosting:
    """The models, and what they said of subnets they had not seen."""

    def __init__(self, blocks: Blocks, targets: Vector, seed: int) -> None:
        rows = beside(blocks)
        mean = np.empty(len(targets))
        self._models = []
        folds = KFold(min(FOLDS, len(targets)), shuffle=True, random_state=seed)
        for fold, (rest, left_out) in enumerate(folds.split(rows)):
            model = GradientBoostingRegressor(random_state=seed + fold, **SETTINGS)
            self._models.append(model.fit(rows[rest], targets[rest]))
            mean[left_out] = model.predict(rows[left_out])
        self._error = float(np.sqrt(np.mean((mean - targets) ** 2)))
        self.held_out: Guess = mean, np.full(len(mean), self._error)

    def predict(self, blocks: Blocks) -> Guess:
        rows = beside(blocks)
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        guesses = np.stack([model.predict(rows) for model in self._models])
        return guesses.mean(axis=0), np.hypot(self._error, guesses.std(axis=0))

"""What the optimality of an additive model's solutions is worth."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nas.searching.searchers.additive_model import fit_additive
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.predictor import Vector, kendall
from search_spaces import Population, SearchSpace

FOLDS = 5
LEAST, MOST = 20, 200  # networks to cross-validate on
OTHER = "gaussian-process"  # beside which the additive model is judged

Guess = Callable[[Population, Vector, Population], Vector]  # fitted to the first two, of the third


def certificate(
    space: SearchSpace, population: Population, targets: Vector, gap: float
) -> tuple[str, ...]:
    """Say how far solutions are from optimal for the model, and how well the model ranks.

    Args:
        population, targets: what was evaluated, `n x d`, and its first objective, n.
        gap: of the solver, relative, the worst of all solutions.
    """
    solved = (
        f"solutions are optimal (gap {gap:.2g}) for an additive model of the options, not for the "
        "networks"
    )
    if len(population) < LEAST:
        return (f"{solved}; too few evaluations to judge the model",)
    guesses = {"the model": _additive(space), OTHER: _other(space)}
    ranks = {name: _cross_validated(g, population, targets) for name, g in guesses.items()}
    stated = ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.items())
    return (f"{solved}; Kendall on networks not fitted to, cross-validated: {stated}",)


def _additive(space: SearchSpace) -> Guess:
    def guess(population: Population, targets: Vector, unseen: Population) -> Vector:
        model = fit_additive(space.features(population), targets[:, None])
        return model.predict(space.features(unseen))[:, 0]

    return guess


def _other(space: SearchSpace) -> Guess:
    def guess(population: Population, targets: Vector, unseen: Population) -> Vector:
        predictor = ACCURACY_PREDICTORS[OTHER](space, 0, None)
        predictor.fit(population, targets)
        return predictor.predict(unseen).mean

    return guess


def _cross_validated(guess: Guess, population: Population, targets: Vector) -> float:
    """Return Kendall's rank correlation of out-of-fold guesses; 0 where all are equal."""
    rows = np.random.default_rng(0).permutation(len(population))[:MOST]
    fold: npt.NDArray[np.intp] = np.arange(len(rows)) % FOLDS
    guesses = np.zeros(len(rows))
    for number in range(FOLDS):
        fitted, held_out = rows[fold != number], rows[fold == number]
        guesses[fold == number] = guess(population[fitted], targets[fitted], population[held_out])
    rank = kendall(guesses, targets[rows])
    return rank if np.isfinite(rank) else 0.0

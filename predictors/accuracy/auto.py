"""The mean of those accuracy predictors that rank held-out subnets best together, and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from predictors.accuracy.boosting import BoostingAccuracy
from predictors.accuracy.forest import ForestAccuracy
from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.accuracy.learned import checked_targets
from predictors.accuracy.ridge import RidgeAccuracy
from predictors.accuracy.warp import Warp, fit_warp
from predictors.encodings import Encoding
from predictors.predictor import Prediction, Predictor, Vector, kendall
from search_spaces import Population, SearchSpace

LEAST_COMPARED = 8  # subnets; fewer tell predictors apart only by chance
DRAWS = 20  # of half of the subnets, on each of which predictors are selected
MOST_PARTS = 6  # of the mean; a predictor may take several
LEAST_GAIN = 1e-3  # of Kendall, for another part
LEAST_SHARE = 0.05  # a predictor of less is left out


class HeldOutPredictor(Predictor, Protocol):
    """A predictor that says how it guesses subnets that it has not seen."""

    @property
    def encodings(self) -> tuple[str, ...]:
        """Names of what the predictor sees of architectures."""

    @property
    def held_out(self) -> Prediction:
        """Guesses of the fitted subnets, each by a model that had not seen the subnet."""


CANDIDATES: Mapping[str, Callable[[SearchSpace, int, Encoding | None], HeldOutPredictor]] = {
    "gaussian-process": GaussianProcessAccuracy,
    "ridge": RidgeAccuracy,
    "boosting": BoostingAccuracy,
    "forest": ForestAccuracy,
}
"""Name -> builder(space, seed, features), the first where subnets are too few to compare.

Ensembles of MLPs are for scoring millions; they train longer than the others together and rank less
well from the few hundred subnets that a search measures.
"""


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    `weights`: share of every predictor in the mean, of those that have one; `kendalls`: of held-out
    guesses by predictor, and of their mean as "chosen"; `reason`: one sentence.
    """

    weights: Mapping[str, float]
    kendalls: Mapping[str, float]
    reason: str


class AutoAccuracy:
    """Fits every predictor and averages those whose mean ranks held-out subnets best.

    Bagged greedy selection with replacement (Caruana et al., ICML 2004): on half of the subnets the
    best one first, then again and again the one that raises Kendall's tau of the mean most, while
    any does; the shares are means over 20 halves. Every predictor guesses held-out subnets in its
    own way (one left out, folds, bags), so none is fitted twice.

    Args:
        space: what populations are of.
        seed: of the candidates and of the halves.
        features: further columns, `n x k`.
        candidates: builders by name; the catalogue without.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        features: Encoding | None = None,
        candidates: Mapping[
            str, Callable[[SearchSpace, int, Encoding | None], HeldOutPredictor]
        ] = CANDIDATES,
    ) -> None:
        self._candidates = {
            name: build(space, seed, features) for name, build in candidates.items()
        }
        self._seed = seed
        self._choice = Choice({}, {}, "not fitted")
        self._warp = fit_warp(np.zeros(1))
        self._held_out = Prediction(np.zeros(0), np.zeros(0))

    @property
    def choice(self) -> Choice:
        """What was chosen and why; known once fitted."""
        return self._choice

    @property
    def encodings(self) -> tuple[str, ...]:
        """Names of what the candidates see of architectures."""
        names = [name for one in self._candidates.values() for name in one.encodings]
        return tuple(dict.fromkeys(names))

    @property
    def held_out(self) -> Prediction:
        """Guesses of the fitted subnets, each by models that had not seen the subnet."""
        return self._held_out

    def fit(self, population: Population, targets: Vector) -> None:
        """Fit all candidates to n measured values and choose among them.

        Raises:
            InputError: fewer than 3 subnets, a value too many or missing, or one that is not
                finite.
        """
        measured = checked_targets(population, targets)
        for candidate in self._candidates.values():
            candidate.fit(population, measured)
        self._warp = fit_warp(measured)
        held_out = {name: candidate.held_out for name, candidate in self._candidates.items()}
        guesses = {name: self._warp.forward(guess.mean) for name, guess in held_out.items()}
        self._choice = _choose(guesses, measured, np.random.default_rng(self._seed))
        mean, std = _mean(held_out, self._choice.weights, self._warp)
        self._held_out = Prediction(mean, std, (measured - mean) / std)

    def predict(self, population: Population) -> Prediction:
        """Guess the fitted quantity: mean and spread, each n."""
        if not self._choice.weights:
            raise AssertionError("fit before predict")
        guesses = {
            name: self._candidates[name].predict(population) for name in self._choice.weights
        }
        mean, std = _mean(guesses, self._choice.weights, self._warp)
        return Prediction(mean, std, self._held_out.residuals)


def _mean(
    guesses: Mapping[str, Prediction], weights: Mapping[str, float], warp: Warp
) -> tuple[Vector, Vector]:
    """Return mean and standard deviation of weighted guesses, averaged on the normal scale."""
    warped = [weight * warp.forward(guesses[name].mean) for name, weight in weights.items()]
    variances = [weight * guesses[name].std ** 2 for name, weight in weights.items()]
    return warp.back(np.sum(warped, axis=0)), np.sqrt(np.sum(variances, axis=0))


def _choose(guesses: Mapping[str, Vector], measured: Vector, rng: np.random.Generator) -> Choice:
    """Choose by held-out guesses on the normal scale."""
    kendalls = {name: _kendall(guess, measured) for name, guess in guesses.items()}
    if len(measured) < LEAST_COMPARED:
        name = next(iter(guesses))
        reason = f"{name}: {len(measured)} subnets are too few to compare predictors"
        return Choice({name: 1.0}, kendalls, reason)
    taken = {name: 0.0 for name in guesses}
    for _ in range(DRAWS):
        half = rng.choice(len(measured), (len(measured) + 1) // 2, replace=False)
        parts = _select({name: guess[half] for name, guess in guesses.items()}, measured[half])
        for name in parts:
            taken[name] += 1 / (DRAWS * len(parts))
    kept = {name: share for name, share in taken.items() if share >= LEAST_SHARE}
    weights = {name: share / sum(kept.values()) for name, share in kept.items()}
    mean = np.sum([weight * guesses[name] for name, weight in weights.items()], axis=0)
    reached = _kendall(mean, measured)
    shares = " + ".join(f"{weight:.0%} {name}" for name, weight in weights.items())
    figures = ", ".join(f"{name} {value:.3f}" for name, value in kendalls.items())
    reason = f"{shares}: Kendall {reached:.3f} on held-out subnets ({figures})"
    return Choice(weights, kendalls | {"chosen": reached}, reason)


def _select(guesses: Mapping[str, Vector], measured: Vector) -> list[str]:
    """Return the names of those to average, some perhaps several times."""
    kendalls = {name: _kendall(guess, measured) for name, guess in guesses.items()}
    parts = [max(kendalls, key=lambda name: kendalls[name])]
    reached = kendalls[parts[0]]
    while len(parts) < MOST_PARTS:
        total = np.sum([guesses[name] for name in parts], axis=0)
        trials = {name: _kendall(total + guess, measured) for name, guess in guesses.items()}
        best = max(trials, key=lambda name: trials[name])
        if trials[best] < reached + LEAST_GAIN:
            break
        parts.append(best)
        reached = trials[best]
    return parts


def _kendall(guess: Vector, measured: Vector) -> float:
    """Return Kendall's tau, 0 where either is constant."""
    return kendall(guess, measured) if np.ptp(guess) > 0 and np.ptp(measured) > 0 else 0.0

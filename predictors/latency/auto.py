"""The latency predictor with the least cross-validated error, and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from predictors.latency.measured import checked_latencies
from predictors.predictor import Prediction, Predictor, Vector
from search_spaces import InputError, Population

LEAST_SUBNETS = 3
LEAST_CHECKED = 5  # below that, cross-validation says nothing
LEAST_COMPARED = 8  # below that, cross-validation misleads more often than it helps
TOLERANCE = 2.0  # standard errors
MOST_TIMES = 4.0  # the best one's error: more is clear, however few subnets were measured
FOLDS = 10  # every subnet is left out alone where there are few


@dataclass(frozen=True)
class Choice:
    """What `Auto` chose.

    `errors`: cross-validated root mean square error by candidate, as a share of the constant's;
    `ranks`: Spearman's correlation of the same guesses, None where a guess is constant;
    `failures`: why a candidate is not among them; `reason`: one sentence.
    """

    name: str
    reason: str
    passed: bool  # whether the chosen one beats a constant and ranks in the right order
    errors: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, float | None] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


class Auto:
    """Fits every candidate, keeps the one that cross-validation prefers.

    The least error wins, but a candidate named earlier is kept where it is not worse by more than
    two standard errors of the paired differences: few subnets tell candidates apart badly. A
    candidate passes if it beats the median of the others and ranks subnets in the right order; one
    that does not pass is chosen only if none does.

    Args:
        candidates: builders by name, the preferred first; one that raises InputError is left out.
        seed: of the folds.

    Raises:
        InputError: no candidate.
    """

    def __init__(self, candidates: Mapping[str, Callable[[], Predictor]], seed: int = 0) -> None:
        if not candidates:
            raise InputError("expected at least one candidate to choose from, got none")
        self._candidates, self._seed = dict(candidates), seed
        self._choice: Choice | None = None
        self._chosen: Predictor | None = None

    @property
    def choice(self) -> Choice:
        """What was chosen and why; known once fitted."""
        if self._choice is None:
            raise AssertionError("fit before asking for the choice")
        return self._choice

    def fit(self, population: Population, targets: Vector) -> None:
        """Compare all candidates on n measured latencies (ms) and fit the chosen one to all.

        Raises:
            InputError: fewer than 3, another number than subnets, one that is not positive, or no
                candidate that can be fitted.
        """
        measured = checked_latencies(population, targets, LEAST_SUBNETS)
        fitted, failures = self._fit_all(population, measured)
        if not fitted:
            reasons = "; ".join(f"{name}: {words}" for name, words in failures.items())
            raise InputError(f"no latency predictor can be fitted: {reasons}")
        if len(measured) < LEAST_CHECKED:
            name = next(iter(fitted))
            reason = f"{name}: {len(measured)} subnets are too few to compare candidates"
            self._choice = Choice(name, reason, passed=True, failures=failures)
        else:
            self._choice = self._compare(list(fitted), population, measured, failures)
        self._chosen = fitted[self._choice.name]

    def predict(self, population: Population) -> Prediction:
        """Guess latencies in ms by the chosen candidate."""
        if self._chosen is None:
            raise AssertionError("fit before predict")
        return self._chosen.predict(population)

    def _fit_all(
        self, population: Population, measured: Vector
    ) -> tuple[dict[str, Predictor], dict[str, str]]:
        fitted: dict[str, Predictor] = {}
        failures: dict[str, str] = {}
        for name, build in self._candidates.items():
            try:
                predictor = build()
                predictor.fit(population, measured)
            except InputError as error:
                failures[name] = str(error)
            else:
                fitted[name] = predictor
        return fitted, failures

    def _compare(
        self, names: list[str], population: Population, measured: Vector, failures: dict[str, str]
    ) -> Choice:
        guesses = {name: np.empty(len(measured)) for name in names}
        constant = np.empty(len(measured))
        folds = KFold(min(FOLDS, len(measured)), shuffle=True, random_state=self._seed)
        for rest, left_out in folds.split(measured):
            constant[left_out] = np.median(measured[rest])
            for name, guess in guesses.items():
                predictor = self._candidates[name]()
                predictor.fit(population[rest], measured[rest])
                guess[left_out] = predictor.predict(population[left_out]).mean
        squares = {name: (guess - measured) ** 2 for name, guess in guesses.items()}
        ranks = {name: _rank(guess, measured) for name, guess in guesses.items()}
        scale = max(float(np.mean((constant - measured) ** 2)), 1e-300)
        errors = {name: float(np.sqrt(s.mean() / scale)) for name, s in squares.items()}
        passing = [name for name in names if errors[name] < 1 and (ranks[name] or 0) > 0]
        if len(measured) < LEAST_COMPARED and passing:
            name = passing[0]  # too few to tell the others apart
        else:
            name = _preferred({name: squares[name] for name in passing or names})
        reason = _reason(name, passing, errors, ranks, failures)
        return Choice(name, reason, bool(passing), errors, ranks, failures)


def _rank(guess: Vector, measured: Vector) -> float | None:
    ranked = np.ptp(guess) > 0 and np.ptp(measured) > 0
    return float(spearmanr(guess, measured).statistic) if ranked else None


def _preferred(squares: Mapping[str, npt.NDArray[np.float64]]) -> str:
    """Return the first candidate that is not clearly worse than the best one."""
    best = min(squares, key=lambda name: float(squares[name].mean()))
    for name, square in squares.items():
        excess = square - squares[best]
        by_chance = excess.mean() <= TOLERANCE * excess.std(ddof=1) / np.sqrt(len(excess))
        if by_chance and square.mean() <= MOST_TIMES**2 * squares[best].mean():
            return name
    raise AssertionError("the best is not worse than itself")


_VERDICTS = {True: "not clearly better", False: "does not pass"}


def _reason(
    name: str,
    passing: list[str],
    errors: Mapping[str, float],
    ranks: Mapping[str, float | None],
    failures: Mapping[str, str],
) -> str:
    """Say what was chosen, on what figures, and what did not pass."""
    figures = f"{name}: cross-validated error {errors[name]:.0%} of a constant's"
    if not passing:
        return f"{figures}; no candidate beats a constant, so measure more subnets"
    others = [
        f"{other} {_VERDICTS[other in passing]} ({errors[other]:.0%}"
        + ("" if (rank := ranks[other]) is None else f", rank correlation {rank:.2f}")
        + ")"
        for other in errors
        if other != name
    ]
    absent = [f"{other} left out ({words})" for other, words in failures.items()]
    return "; ".join([figures, *others, *absent])

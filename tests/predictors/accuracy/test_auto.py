import numpy as np
import pytest

from predictors.accuracy.auto import AutoAccuracy
from predictors.predictor import Prediction, kendall
from search_spaces import build_space

SPACE = build_space("mobilenet-digits")
N = 60
TRUTH = np.random.default_rng(0).normal(70, 3, 2 * N)
POPULATION = SPACE.sample_distinct(2 * N, np.random.default_rng(1))
PLACE = {bytes(row): i for i, row in enumerate(POPULATION)}


def noisy(noise, seed):
    """A candidate that guesses the truth with errors of this size, seen or not."""
    errors = np.random.default_rng(seed).normal(0, noise, 2 * N)

    class Candidate:
        encodings = ("truth",)

        def fit(self, population, targets):
            guess = self.predict(population)
            residuals = (targets - guess.mean) / guess.std
            self.held_out = Prediction(guess.mean, guess.std, residuals)

        def predict(self, population):
            places = [PLACE[bytes(row)] for row in population]
            return Prediction((TRUTH + errors)[places], np.full(len(places), max(noise, 0.1)))

    return lambda space, seed, features: Candidate()


def fitted(candidates, n=N):
    auto = AutoAccuracy(SPACE, candidates=candidates)
    auto.fit(POPULATION[:n], TRUTH[:n])
    return auto


def unseen(auto):
    return kendall(auto.predict(POPULATION[N:]).mean, TRUTH[N:])


def test_the_good_are_chosen_and_the_bad_are_not():
    choice = fitted({"bad": noisy(20, 1), "good": noisy(0.5, 2)}).choice
    assert choice.weights["good"] > 0.9
    assert choice.kendalls["good"] > choice.kendalls["bad"]
    assert "good" in choice.reason


def test_mean_of_equals_ranks_better_than_each():
    candidates = {str(seed): noisy(2.0, seed) for seed in range(1, 5)}
    auto = fitted(candidates)
    alone = [unseen(fitted({name: build})) for name, build in candidates.items()]
    assert len(auto.choice.weights) >= 3
    assert sum(auto.choice.weights.values()) == pytest.approx(1)
    assert unseen(auto) > max(alone)
    assert auto.choice.kendalls["chosen"] > max(auto.choice.kendalls[name] for name in candidates)


def test_few_subnets_take_the_first():
    choice = fitted({"first": noisy(5, 1), "second": noisy(0.1, 2)}, n=6).choice
    assert choice.weights == {"first": 1.0}
    assert "too few" in choice.reason

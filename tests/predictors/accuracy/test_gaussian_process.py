import numpy as np

from predictors.accuracy import gaussian_process
from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.predictor import kendall
from search_spaces import build_space


def fitted(space, population, targets, features=None):
    predictor = GaussianProcessAccuracy(space, 0, features)
    predictor.fit(population, targets)
    return predictor


def test_features_are_dealt_out_evenly():
    dealt = gaussian_process._deal(13, seed=0)
    looked_at = np.bincount(np.concatenate(dealt), minlength=13)
    assert (looked_at == gaussian_process.ROUNDS).all()
    assert {len(columns) for columns in dealt} == {6, 7}
    assert len(gaussian_process._deal(3, seed=0)) == 1


def test_scores_that_tell_nothing_do_little_harm():
    space = build_space("nasbench201")
    population = space.sample_distinct(30 + 400, np.random.default_rng(0))
    truth = population @ np.array([3.0, 1.0, 1.0, 2.0, 1.0, 3.0])
    noise = np.random.default_rng(1).normal(size=(15_625, 11))

    def features(asked):
        places = asked @ 5 ** np.arange(6)
        good = asked @ np.array([3.0, 1.0, 1.0, 2.0, 1.0, 3.0]) + 3 * noise[places, 0]
        return np.column_stack([good, noise[places]])

    def rank(features):
        guess = fitted(space, population[:30], truth[:30], features).predict(population[30:])
        return kendall(guess.mean, truth[30:])

    assert rank(features) > rank(lambda asked: features(asked)[:, :1]) - 0.15
    assert rank(features) > rank(lambda asked: features(asked)[:, 1:])


def test_kernel_of_a_part_learns_from_all(monkeypatch):
    """Beyond a number of subnets the kernel is told from some, the guesses from all."""
    space = build_space("mobilenet-digits")
    population = space.sample_distinct(120 + 300, np.random.default_rng(0))
    truth = 70 + np.sqrt(population).sum(axis=1)
    ranks = []
    for compared, learned in ((40, 40), (40, 120), (120, 120)):
        monkeypatch.setattr(gaussian_process, "MOST_COMPARED", compared)
        guess = fitted(space, population[:learned], truth[:learned]).predict(population[120:])
        ranks.append(kendall(guess.mean, truth[120:]))
    assert ranks[1] > ranks[0] + 0.02
    assert ranks[1] > ranks[2] - 0.03

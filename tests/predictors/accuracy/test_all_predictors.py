import numpy as np
import pytest

from predictors.accuracy import ACCURACY_PREDICTORS, boosting, forest, mlp_ensemble
from predictors.accuracy.auto import AutoAccuracy
from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.accuracy.ridge import RidgeAccuracy
from predictors.predictor import kendall
from search_spaces import InputError, build_space
from tests.contracts.predictor_contract import PredictorContract

FAST = {"gaussian-process": GaussianProcessAccuracy, "ridge": RidgeAccuracy}
NAMES = sorted(ACCURACY_PREDICTORS)


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


@pytest.fixture
def build(monkeypatch):
    """Builds any predictor, of fewer trees and steps than in use."""
    monkeypatch.setattr(forest, "TREES", 40)
    monkeypatch.setattr(boosting, "FOLDS", 5)
    monkeypatch.setattr(mlp_ensemble, "STEPS", 100)

    def build(name, space, seed=0, features=None):
        if name == "auto":
            return AutoAccuracy(space, seed, features, FAST)
        return ACCURACY_PREDICTORS[name](space, seed, features)

    return build


class TestAccuracyContract(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture(params=NAMES)
    def predictor(self, request, space, build):
        return build(request.param, space)


def smooth(space, population, seed=0):
    """A quantity that rises with every option, with diminishing returns; not of the costs."""
    weights = np.random.default_rng(seed).uniform(0, 1, space.num_dimensions)
    share = population / np.maximum(space.num_options - 1, 1)
    gains = (np.sqrt(share) + 0.5) * space.active(population) * weights
    return 70 + gains.sum(axis=1) + 2 * np.sin(gains[:, :6].sum(axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_smooth_function_of_genomes_is_learned(space, build, name):
    population = space.sample_distinct(150 + 500, np.random.default_rng(0))
    truth = smooth(space, population)
    predictor = build(name, space)
    predictor.fit(population[:150], truth[:150])
    guess = predictor.predict(population[150:]).mean
    assert kendall(guess, truth[150:]) > 0.6
    assert np.sqrt(np.mean((guess - truth[150:]) ** 2)) < 0.6 * np.std(truth[150:])


@pytest.mark.parametrize("name", NAMES)
def test_held_out_guesses_tell_how_good_it_is(space, build, name):
    population = space.sample_distinct(80 + 500, np.random.default_rng(0))
    truth = smooth(space, population) + np.random.default_rng(1).normal(0, 0.5, 580)
    predictor = build(name, space)
    predictor.fit(population[:80], truth[:80])
    prediction, held_out = predictor.predict(population[80:]), predictor.held_out
    reached = np.sqrt(np.mean((prediction.mean - truth[80:]) ** 2))
    stated = np.sqrt(np.mean((held_out.mean - truth[:80]) ** 2))
    assert 0.7 * reached < stated < 1.5 * reached
    assert 0.8 < np.mean(truth[80:] <= prediction.upper(0.9)) < 0.98
    np.testing.assert_allclose(
        held_out.residuals, (truth[:80] - held_out.mean) / held_out.std, rtol=1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_further_features_help(build, name):
    space = build_space("nasbench201")
    population = space.sample_distinct(40 + 300, np.random.default_rng(0))
    truth = np.random.default_rng(1).permutation(len(population)).astype(np.float64)
    score = dict(zip(map(bytes, population), truth, strict=True))

    def features(asked):  # what genomes cannot tell
        return np.array([[score[bytes(row)] ** 2] for row in asked]).reshape(-1, 1)

    with_features, without = build(name, space, 0, features), build(name, space)
    ranks = []
    for predictor in (with_features, without):
        predictor.fit(population[:40], truth[:40])
        ranks.append(kendall(predictor.predict(population[40:]).mean, truth[40:]))
    assert ranks[0] > 0.5 > 0.2 > abs(ranks[1])
    assert set(with_features.encodings) == {*without.encodings, "features"}


@pytest.mark.parametrize("name", NAMES)
def test_equal_targets_are_guessed_for_all(space, build, name):
    population = space.sample_distinct(30, np.random.default_rng(0))
    predictor = build(name, space)
    predictor.fit(population[:20], np.full(20, 0.75))
    prediction = predictor.predict(population)
    np.testing.assert_allclose(prediction.mean, 0.75, atol=1e-4)
    assert (prediction.std > 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [3, 5])
def test_few_subnets_are_enough_for_a_guess(space, build, name, n):
    population = space.sample_distinct(20, np.random.default_rng(0))
    predictor = build(name, space)
    with pytest.raises(InputError, match="3 or more subnets"):
        predictor.fit(population[:2], np.arange(2.0))
    predictor.fit(population[:n], np.arange(float(n)))
    assert np.isfinite(predictor.predict(population).upper(0.9)).all()

import csv
import gzip

import numpy as np
import pytest

from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.predictor import kendall
from search_spaces import InputError, build_space
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


class TestGaussianProcessContract(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture(params=sorted(ACCURACY_PREDICTORS))
    def predictor(self, request, space):
        return ACCURACY_PREDICTORS[request.param](space, 0)


def smooth(space, population, seed=0):
    """A quantity that rises with every option, with diminishing returns; not of the costs."""
    weights = np.random.default_rng(seed).uniform(0, 1, space.num_dimensions)
    share = population / np.maximum(space.num_options - 1, 1)
    active = space.active(population)
    gains = (np.sqrt(share) + 0.5) * active * weights
    return 70 + gains.sum(axis=1) + 2 * np.sin(gains[:, :6].sum(axis=1))


def fitted(space, population, targets, seed=0):
    predictor = GaussianProcessAccuracy(space, seed)
    predictor.fit(population, targets)
    return predictor


@pytest.mark.parametrize("seed", range(3))
def test_smooth_function_of_genomes_is_learned(space, seed):
    population = space.sample_distinct(150 + 500, np.random.default_rng(seed))
    truth = smooth(space, population, seed)
    prediction = fitted(space, population[:150], truth[:150]).predict(population[150:])
    errors = prediction.mean - truth[150:]
    assert kendall(prediction.mean, truth[150:]) > 0.6
    assert np.sqrt(np.mean(errors**2)) < 0.6 * np.std(truth[150:])


def test_predictions_follow_scale_and_offset_of_the_targets(space):
    population = space.sample_distinct(60, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(0, 0.1, 40)
    targets = smooth(space, population[:40]) + noise
    plain = fitted(space, population[:40], targets).predict(population)
    moved = fitted(space, population[:40], 1000 - 50 * targets).predict(population)
    np.testing.assert_allclose(moved.mean, 1000 - 50 * plain.mean, rtol=1e-5)
    np.testing.assert_allclose(moved.std, 50 * plain.std, rtol=1e-3)


def test_spread_is_wider_where_nothing_was_seen(space):
    rng = np.random.default_rng(0)
    population = space.sample_distinct(400, rng)
    resolution = [dimension.name for dimension in space.dimensions].index("resolution")
    seen = population[population[:, resolution] == 0][:60]
    unlike = population[population[:, resolution] == 2]
    predictor = fitted(space, seen, smooth(space, seen))
    assert predictor.predict(unlike).std.mean() > 1.2 * predictor.predict(seen).std.mean()


def test_constant_targets(space):
    population = space.sample_distinct(20, np.random.default_rng(0))
    prediction = fitted(space, population, np.full(20, 93.5)).predict(population)
    np.testing.assert_allclose(prediction.mean, 93.5)
    assert (prediction.std > 0).all()


def test_repeated_measurements_of_one_architecture(space):
    population = np.repeat(space.sample_distinct(12, np.random.default_rng(0)), 3, axis=0)
    truth = smooth(space, population)
    noisy = truth + np.random.default_rng(1).normal(0, 0.2, len(truth))
    prediction = fitted(space, population, noisy).predict(population)
    assert np.sqrt(np.mean((prediction.mean - truth) ** 2)) < 0.2


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_subnets_are_refused(space, n):
    with pytest.raises(InputError, match="3 or more subnets"):
        fitted(space, space.sample(n, np.random.default_rng(0)), np.arange(float(n)))


def test_leave_one_out_residuals_equal_refits_without_each_row(space):
    """Against Gaussian process regression written out, the same kernel, one row left out."""
    rng = np.random.default_rng(0)
    population = space.sample_distinct(12, rng)
    targets = smooth(space, population) + rng.normal(0, 0.3, 12)
    predictor = fitted(space, population, targets)
    model = predictor._model
    scale, length, noise = np.exp(model.kernel_.theta)
    inputs = model.X_train_
    distance = np.sqrt(((inputs[:, None] - inputs[None]) ** 2).sum(axis=-1)) * 5**0.5 / length
    matern = scale * (1 + distance + distance**2 / 3) * np.exp(-distance)
    covariance = matern + (noise + model.alpha) * np.eye(12)
    values = (targets - targets.mean()) / targets.std()
    expected = []
    for i in range(12):
        rest = np.arange(12) != i
        weights = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
        mean = weights @ values[rest]
        variance = covariance[i, i] - weights @ covariance[rest, i]
        expected.append((values[i] - mean) / np.sqrt(variance))
    residuals = predictor.predict(population).residuals
    np.testing.assert_allclose(residuals, expected, rtol=1e-6, atol=1e-8)


def test_features_are_options_and_standardised_log_costs(space):
    population = space.sample_distinct(30, np.random.default_rng(0))
    inputs = fitted(space, population, smooth(space, population))._model.X_train_
    options, costs = inputs[:, :-3], inputs[:, -3:]
    weight = options.max()
    np.testing.assert_allclose(options, weight * space.features(population))
    expected = space.layers.costs(population)
    logs = np.log([expected.macs, expected.num_params, expected.activation_bytes]).T
    logs = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    np.testing.assert_allclose(costs, logs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_upper_bound_holds_as_often_as_stated(space, coverage):
    """Fits to 80 subnets with a known noise, each tried on 2,000 fresh measurements; on average,
    as one set of 80 alone scatters by four points.
    """
    rng = np.random.default_rng(0)

    def measured(n):
        population = space.sample(n, rng)
        return population, smooth(space, population) + 0.4 * (rng.exponential(1, n) - 1)

    covered = []
    for _ in range(6):
        predictor = fitted(space, *measured(80))
        population, values = measured(2000)
        covered.append(np.mean(values <= predictor.predict(population).upper(coverage)))
    assert np.mean(covered) == pytest.approx(coverage, abs=0.05)


# --- published data -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tables):
    """(space, population, top-1 error in percent) of once-for-all subnets, each one once."""
    path = tables / "ofa_mobilenet_v3_accuracy.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    space = build_space("mobilenet-v3")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    population = space.encode_all(space.parse(row["arch"]) for row in rows)
    errors = 100 - np.array([float(row["imagenet_top1_acc"]) for row in rows])
    costs = space.layers.costs(population)
    np.testing.assert_array_equal(costs.macs, [float(row["macs"]) for row in rows])
    np.testing.assert_array_equal(costs.num_params, [float(row["num_params"]) for row in rows])
    _, first = np.unique(population, axis=0, return_index=True)
    return space, population[first], errors[first]


@pytest.mark.parametrize(("num_fitted", "least"), [(50, 0.86), (100, 0.90), (250, 0.93)])
def test_published_subnets_are_ranked(published, num_fitted, least):
    space, population, errors = published
    order = np.random.default_rng(0).permutation(len(population))
    seen, unseen = order[:num_fitted], order[-400:]
    prediction = fitted(space, population[seen], errors[seen]).predict(population[unseen])
    assert kendall(prediction.mean, errors[unseen]) >= least

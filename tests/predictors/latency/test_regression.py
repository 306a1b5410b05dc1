import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from predictors.latency import regression
from predictors.latency.regression import LatencyRegression
from predictors.predictor import error_report
from search_spaces import InputError, build_space
from search_spaces.nasbench201 import cell_macs
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def mobilenet():
    return build_space("mobilenet-digits")


@pytest.fixture(scope="module")
def cells():
    return build_space("nasbench201")


def fitted(space, population, latency, **settings):
    predictor = LatencyRegression(space, **settings)
    predictor.fit(population, latency)
    return predictor


class TestRegression(PredictorContract):
    @pytest.fixture
    def space(self, mobilenet):
        return mobilenet

    @pytest.fixture
    def predictor(self, space):
        return LatencyRegression(space)


class TestRegressionWithoutLayers(PredictorContract):
    @pytest.fixture
    def space(self, cells):
        return cells

    @pytest.fixture
    def predictor(self, space):
        return LatencyRegression(space)

    def quantity(self, space, population):
        return 1 + cell_macs(population) / 1e7


class TestRegressionOnAPart(TestRegression):
    """Of many measured subnets only some are fitted."""

    @pytest.fixture
    def predictor(self, space):
        return LatencyRegression(space, most_fitted=50)


def additive(population, seed=0):
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, (6, 5))
    return 1 + weights[np.arange(6), population].sum(axis=1)


@pytest.mark.parametrize("scale", ["milliseconds", "logarithms"])
def test_latencies_that_add_up_are_recovered(cells, scale):
    """In ms or in logarithms, whichever it is; 60 cells tell 30 effects."""
    population = cells.sample_distinct(360, np.random.default_rng(1))
    latency = additive(population)
    latency = latency if scale == "milliseconds" else np.exp(0.7 * latency)
    prediction = fitted(cells, population[:60], latency[:60]).predict(population[60:])
    assert error_report(prediction.mean, latency[60:]).mape < 0.01


def test_pairs_of_options_are_learned_from_many(cells):
    population = cells.sample_distinct(1300, np.random.default_rng(1))
    pairs = np.random.default_rng(2).uniform(0, 1, (5, 5))
    latency = (
        1 + pairs[population[:, 0], population[:, 1]] + pairs[population[:, 3], population[:, 5]]
    )
    prediction = fitted(cells, population[:1000], latency[:1000]).predict(population[1000:])
    assert error_report(prediction.mean, latency[1000:]).mape < 0.02


def test_costs_tell_more_than_options_from_few(mobilenet):
    population = mobilenet.sample_levels(210, np.random.default_rng(0))
    latency = 0.2 + mobilenet.layers.costs(population).macs / 1e7
    prediction = fitted(mobilenet, population[:10], latency[:10]).predict(population[10:])
    assert error_report(prediction.mean, latency[10:]).spearman > 0.95


@pytest.mark.parametrize("logarithmic", [False, True])
def test_residuals_are_those_of_subnets_left_out(cells, monkeypatch, logarithmic):
    """Against scikit-learn, refitted with the same kernel to all but one."""
    population = cells.sample_distinct(14, np.random.default_rng(3))
    latency = additive(population) * np.random.default_rng(4).normal(1, 0.03, 14)
    monkeypatch.setattr(regression, "KERNELS_WITHOUT_COSTS", ((0.0, 0.0, 1.0, 0.0),))
    monkeypatch.setattr(regression, "NOISES", (0.1,))
    predictor = fitted(cells, population, latency)
    predictor._model = regression._Model(logarithmic, (0.0, 0.0, 1.0, 0.0), 0.1, 0.0)
    predictor._solve()
    y = np.log(latency) if logarithmic else latency
    y = (y - y.mean()) / y.std()
    features = cells.features(population) / np.sqrt(6)
    kernel = ConstantKernel(1.0, "fixed") + DotProduct(0.0, "fixed")
    standardised = []
    for i in range(14):
        keep = np.arange(14) != i
        model = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)
        model.fit(features[keep], y[keep])
        mean, std = model.predict(features[i : i + 1], return_std=True)
        standardised.append((y[i] - mean[0]) / np.sqrt(std[0] ** 2 + 0.1))
    residuals = predictor.predict(population).residuals
    sign = np.sign(residuals) == np.sign(standardised)
    assert sign.all()
    if not logarithmic:
        ratio = residuals / np.array(standardised)  # the fitted scale, one number for all
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_upper_bound_holds_as_often_as_stated(cells, coverage):
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(20):
        population = cells.sample(560, rng)
        latency = additive(population) * rng.normal(1, 0.05, 560)
        prediction = fitted(cells, population[:60], latency[:60]).predict(population[60:])
        covered.append(np.mean(latency[60:] <= prediction.upper(coverage)))
    assert np.mean(covered) == pytest.approx(coverage, abs=0.04)


def test_spread_is_that_of_the_noise_where_much_was_measured(cells):
    rng = np.random.default_rng(6)
    population = cells.sample(1500, rng)
    latency = additive(population) + rng.normal(0, 0.1, 1500)
    for n in (900, 1500):  # with and without the spread of the guess itself
        prediction = fitted(cells, population[:n], latency[:n]).predict(population)
        np.testing.assert_allclose(np.median(prediction.std), 0.1, rtol=0.25)


def test_guesses_stay_positive(cells):
    population = cells.sample_distinct(400, np.random.default_rng(0))
    latency = np.maximum(additive(population) - 3.5, 1e-3)
    assert (fitted(cells, population[:12], latency[:12]).predict(population).mean > 0).all()


@pytest.mark.parametrize("n", [0, 2])
def test_too_few_subnets_are_refused(cells, n):
    population = cells.sample(n, np.random.default_rng(0))
    with pytest.raises(InputError, match="3 or more measured subnets"):
        fitted(cells, population, np.ones(n))


def test_equal_latencies_are_no_fault(cells):
    population = cells.sample(8, np.random.default_rng(0))
    mean = fitted(cells, population, np.full(8, 2.0)).predict(population).mean
    np.testing.assert_allclose(mean, 2.0, rtol=1e-3)

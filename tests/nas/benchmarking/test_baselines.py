import numpy as np
import pytest

from nas.benchmarking.baselines import BestLine, ConstantLatency, best_known_line
from search_spaces import InputError, build_space
from search_spaces.nasbench201 import cell_macs
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


def numbers(population):
    """Three numbers of every cell, of which the second is its MACs."""
    return np.stack([population[:, 0] + 1.0, cell_macs(population), np.ones(len(population))], 1)


class TestBestLine(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self):
        return BestLine(numbers)

    def quantity(self, space, population):
        return 1 + cell_macs(population) / 1e8


class TestConstant(PredictorContract):
    test_closer_than_a_constant = None  # it is one

    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self):
        return ConstantLatency()

    def quantity(self, space, population):
        return 1 + cell_macs(population) / 1e8


def test_the_constant_is_the_median(space):
    predictor = ConstantLatency()
    predictor.fit(space.sample(3, np.random.default_rng(0)), np.array([1.0, 5.0, 2.0]))
    assert predictor.predict(space.sample(2, np.random.default_rng(0))).mean.tolist() == [2.0, 2.0]


def test_the_line_is_that_of_the_best_column(space):
    population = space.sample_distinct(200, np.random.default_rng(0))
    latency = 3 + 2 * cell_macs(population) / 1e8
    predictor = BestLine(numbers)
    predictor.fit(population[:5], latency[:5])
    np.testing.assert_allclose(predictor.predict(population).mean, latency)


def test_residuals_are_those_of_lines_through_the_others(space):
    population = space.sample_distinct(8, np.random.default_rng(0))
    x = cell_macs(population) / 1e8
    latency = 0.3 + 2 * x + np.random.default_rng(1).normal(0, 0.1, 8)
    predictor = BestLine(lambda p: cell_macs(p)[:, None])
    predictor.fit(population, latency)
    errors = []
    for i in range(8):
        keep = np.arange(8) != i
        errors.append(latency[i] - np.polyval(np.polyfit(x[keep], latency[keep], 1), x[i]))
    prediction = predictor.predict(population)
    np.testing.assert_allclose(prediction.residuals * prediction.std[0], errors, rtol=1e-6)


def test_columns_that_do_not_vary_are_a_constant(space):
    population = space.sample(4, np.random.default_rng(0))
    predictor = BestLine(lambda p: np.full((len(p), 1), 7.0))
    predictor.fit(population, np.array([1.0, 2.0, 3.0, 2.0]))
    np.testing.assert_allclose(predictor.predict(population).mean, 2.0)


def test_a_known_target_is_needed():
    with pytest.raises(InputError, match="expected a known target"):
        best_known_line([])

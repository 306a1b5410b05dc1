import numpy as np
import pytest

from predictors.latency.additive_table import AdditiveTable
from search_spaces import build_space
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


def random_layer_latency(space):
    rng = np.random.default_rng(0)
    return np.concatenate([[0.0], rng.uniform(0.02, 0.3, len(space.layers.specs))])


def plain_sums(space, population, layer_latency_ms):
    position = {spec: 1 + i for i, spec in enumerate(space.layers.specs)}
    return np.array(
        [
            sum(layer_latency_ms[position[spec]] for _, spec in space.layers.layers(genome))
            for genome in population
        ]
    )


class TestAdditiveTable(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self, space):
        return AdditiveTable(space, random_layer_latency(space))

    def quantity(self, space, population):
        return plain_sums(space, population, random_layer_latency(space))


def test_the_guess_is_the_sum_whatever_was_measured(space):
    layer_latency_ms = random_layer_latency(space)
    population = space.sample(40, np.random.default_rng(0))
    sums = plain_sums(space, population, layer_latency_ms)
    predictor = AdditiveTable(space, layer_latency_ms)
    for n in (0, 1, 20):
        predictor.fit(population[:n], 3 * sums[:n])
        np.testing.assert_allclose(predictor.predict(population).mean, sums)


def test_spread_and_bound_tell_how_far_sums_are_off(space):
    layer_latency_ms = random_layer_latency(space)
    """Subnets 20 % slower than their sums: the bound lies there, though the guess does not."""
    population = space.sample(60, np.random.default_rng(0))
    sums = plain_sums(space, population, layer_latency_ms)
    predictor = AdditiveTable(space, layer_latency_ms)
    predictor.fit(population, 1.2 * sums)
    prediction = predictor.predict(population)
    np.testing.assert_allclose(prediction.std / prediction.mean, 0.2)
    np.testing.assert_allclose(prediction.upper(0.9), 1.2 * sums)

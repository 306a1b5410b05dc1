import numpy as np
import pytest

from nas.searching.acquisition import (
    chebyshev,
    expected_hypervolume_improvement,
    expected_shortfall,
)
from nas.searching.pareto import hypervolume, non_dominated

FRONT = np.array([[1.0, 6.0], [2.0, 4.0], [4.0, 3.0], [7.0, 0.5]])
REFERENCE = np.array([8.0, 7.0])


def area(costs):
    inside = costs[(costs < REFERENCE).all(axis=1)]
    return hypervolume(inside, REFERENCE) * REFERENCE.prod() if len(inside) else 0.0


def gain(front, point):
    both = np.concatenate([front, point[None]])
    return area(both[non_dominated(both)]) - area(front)


def test_a_shortfall_is_what_sampling_finds():
    rng = np.random.default_rng(0)
    for level, mean, std in ((1.0, 0.5, 0.3), (0.0, 2.0, 1.0), (-3.0, -3.0, 0.1)):
        drawn = np.maximum(level - (mean + std * rng.standard_normal(400_000)), 0).mean()
        found = expected_shortfall(level, np.array([mean]), np.array([std]))[0]
        assert found == pytest.approx(drawn, rel=0.03)


def test_the_shortfall_of_what_is_known_is_the_difference():
    mean = np.array([0.0, 1.0, 2.0, 1e9, -1e9])
    found = expected_shortfall(1.0, mean, np.zeros(5))
    np.testing.assert_allclose(found, np.maximum(1.0 - mean, 0), atol=1e-9)


def test_the_improvement_of_known_costs_is_the_area_they_add():
    points = np.random.default_rng(1).uniform(0, 9, (200, 2))
    found = expected_hypervolume_improvement(FRONT, REFERENCE, points, np.zeros_like(points))
    np.testing.assert_allclose(found, [gain(FRONT, point) for point in points], atol=1e-8)


@pytest.mark.parametrize("front", [FRONT, FRONT[:1], FRONT[:0], FRONT + 100], ids=len)
def test_the_expected_improvement_is_what_sampling_finds(front):
    rng = np.random.default_rng(2)
    mean, std = np.array([[3.0, 2.5], [6.0, 6.0]]), np.array([[1.0, 0.7], [2.0, 3.0]])
    found = expected_hypervolume_improvement(front, REFERENCE, mean, std)
    for i in range(2):
        drawn = mean[i] + std[i] * rng.standard_normal((4000, 2))
        sampled = expected_hypervolume_improvement(front, REFERENCE, drawn, np.zeros_like(drawn))
        assert found[i] == pytest.approx(sampled.mean(), rel=0.06)


def test_the_order_of_the_front_does_not_matter():
    mean, std = np.array([[3.0, 2.5]]), np.array([[1.0, 0.7]])
    np.testing.assert_allclose(
        expected_hypervolume_improvement(FRONT[::-1], REFERENCE, mean, std),
        expected_hypervolume_improvement(FRONT, REFERENCE, mean, std),
    )


def test_the_chebyshev_distance_is_of_the_worst_cost():
    costs = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 2.0]])
    assert chebyshev(costs, np.full(3, 1 / 3)).argsort().tolist() == [1, 0, 2]

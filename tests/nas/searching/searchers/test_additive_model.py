import numpy as np
import pytest

from nas.searching.searchers.additive_model import (
    Enumeration,
    IntegerProgram,
    Limit,
    additive_solver,
    fit_additive,
)
from search_spaces import Dimension, SearchSpace
from tests.contracts.searcher_contract import synthetic_space


def random_space(rng: np.random.Generator) -> SearchSpace:
    """Five to seven dimensions, about half of them conditional, on others too."""
    dimensions: list[Dimension] = []
    for i in range(int(rng.integers(5, 8))):
        condition = None
        if dimensions and rng.random() < 0.5:
            parent = dimensions[int(rng.integers(len(dimensions)))]
            size = len(parent.options)
            activating = rng.choice(size, int(rng.integers(1, size + 1)), replace=False)
            condition = (parent.name, frozenset(activating.tolist()))
        dimensions.append(Dimension(f"d{i}", tuple(range(int(rng.integers(1, 5)))), condition))
    return SearchSpace("random@1", dimensions)


@pytest.mark.parametrize("solver", [IntegerProgram, Enumeration])
@pytest.mark.parametrize("seed", range(12))
def test_no_architecture_is_better_than_the_solution(seed, solver):
    rng = np.random.default_rng(seed)
    space = random_space(rng)
    everything = space.all_architectures()
    features = space.features(everything)
    weights, limited = rng.normal(size=(2, features.shape[1]))
    most = float(np.quantile(features @ limited, 0.4))
    excluded = everything[rng.random(len(everything)) < 0.3]
    allowed = (features @ limited <= most + 1e-9) & ~(
        (everything[:, None] == excluded[None]).all(axis=2).any(axis=1)
    )
    solution = solver(space).solve(weights, [Limit(limited, most)], excluded)
    if not allowed.any():
        assert solution is None
        return
    assert solution is not None
    assert solution.gap == 0
    found = (everything == solution.genome).all(axis=1)
    assert found.sum() == 1
    assert allowed[found].all()
    assert (features @ weights)[found] == pytest.approx((features @ weights)[allowed].min())


@pytest.mark.parametrize("solver", [IntegerProgram, Enumeration])
def test_a_limit_that_nothing_keeps_has_no_solution(solver):
    space = random_space(np.random.default_rng(0))
    weights = np.ones(int(space.num_options.sum()))
    none = space.smallest()[:0]
    assert solver(space).solve(weights, [Limit(weights, 0.0)], none) is None


def test_large_spaces_are_not_gone_through():
    assert isinstance(additive_solver(random_space(np.random.default_rng(0))), Enumeration)
    assert isinstance(additive_solver(synthetic_space()), IntegerProgram)


def test_weights_of_any_size_make_no_difference():
    space = random_space(np.random.default_rng(1))
    weights, limited = np.random.default_rng(2).normal(size=(2, int(space.num_options.sum())))
    middle = float(np.quantile(space.features(space.all_architectures()) @ limited, 0.5))
    small, large = (
        IntegerProgram(space).solve(
            weights * scale, [Limit(limited * scale, middle * scale)], space.smallest()[:0]
        )
        for scale in (1e-12, 1e12)
    )
    assert small is not None
    assert large is not None
    np.testing.assert_array_equal(small.genome, large.genome)


def test_sums_over_options_are_learned():
    space = random_space(np.random.default_rng(3))
    population = space.all_architectures()
    features = space.features(population)
    truth = features @ np.random.default_rng(4).normal(size=(features.shape[1], 2)) + [5.0, -3.0]
    predicted = fit_additive(features, truth).predict(features)
    np.testing.assert_allclose(predicted, truth, atol=0.05)


def test_one_quantity_is_a_column_too():
    space = random_space(np.random.default_rng(3))
    features = space.features(space.sample(50, np.random.default_rng(0)))
    model = fit_additive(features, features[:, :1].astype(float))
    assert model.predict(features).shape == (50, 1)

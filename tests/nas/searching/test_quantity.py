"""Functions of a user's own, and several devices as one number."""

import numpy as np
import pytest

from nas.searching.quantity import Estimate, Quantity, analytic, of_function, worst_case
from search_spaces import InputError

MODULE = """
def options(space, population):
    return population.sum(axis=1)

def fragile(space, population):
    if (population.sum(axis=1) % 2).any():
        raise ValueError("odd")
    return population.sum(axis=1)

def broken(space, population):
    raise ValueError("always")

def wrong(space, population):
    return [1.0, 2.0, 3.0]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_costs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_the_users_sees_the_space_and_whole_populations(space, module):
    quantity = of_function("python:my_costs:options", space)
    population = space.sample(20, np.random.default_rng(0))
    estimate = quantity(population)
    np.testing.assert_array_equal(estimate.value, population.sum(axis=1))
    np.testing.assert_array_equal(estimate.bound, estimate.value)
    assert quantity.is_exact


def test_where_it_raises_only_those_architectures_fail(space, module):
    population = space.sample(20, np.random.default_rng(0))
    found = of_function("python:my_costs:fragile", space)(population).value
    odd = population.sum(axis=1) % 2 == 1
    assert 0 < odd.sum() < 20
    np.testing.assert_array_equal(np.isnan(found), odd)
    np.testing.assert_array_equal(found[~odd], population.sum(axis=1)[~odd])


def test_one_architecture_at_which_it_raises_is_no_reason_to_stop(space, module):
    population = space.sample(20, np.random.default_rng(0))
    odd = population[population.sum(axis=1) % 2 == 1][:1]
    assert np.isnan(of_function("python:my_costs:fragile", space)(odd).value).all()


@pytest.mark.parametrize(
    ("name", "words"), [("broken", "always"), ("wrong", "one number for each")]
)
def test_a_function_that_never_works_is_an_error(space, module, name, words):
    with pytest.raises(InputError, match=words):
        of_function(f"python:my_costs:{name}", space)(space.sample(20, np.random.default_rng(0)))


def test_the_worst_case_is_the_greatest_share_of_a_budget(space):
    costs = space.layers.costs

    def latency(name, per_mac):
        def estimate(population):
            value = costs(population).macs * per_mac
            return Estimate(value, 1.2 * value)

        return Quantity(name, "ms", estimate, 0.8)

    first, second = latency("a", 1e-6), latency("b", 3e-6)
    population = space.sample(20, np.random.default_rng(0))
    worst = worst_case([(first, 2.0), (second, 4.0)])(population)
    expected = np.maximum(costs(population).macs * 1e-6 / 2, costs(population).macs * 3e-6 / 4)
    np.testing.assert_allclose(worst.value, expected)
    np.testing.assert_allclose(worst.bound, 1.2 * expected)


def test_one_population_is_computed_once_for_all_analytic_quantities(space):
    quantities = analytic(space)
    population = space.sample(5, np.random.default_rng(0))
    costs = space.layers.costs(population)
    np.testing.assert_array_equal(quantities["macs"](population).value, costs.macs)
    np.testing.assert_array_equal(quantities["params"](population).value, costs.num_params)
    other = space.sample(5, np.random.default_rng(1))
    assert not np.array_equal(quantities["macs"](other).value, costs.macs)

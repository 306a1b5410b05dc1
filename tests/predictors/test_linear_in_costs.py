import numpy as np
import pytest

from hardware_profiles.profile import Profile, SubnetLatency
from hardware_profiles.target import Target
from predictors.linear_in_costs import LEAST_SUBNETS, LinearInCosts, fit_memory
from search_spaces import build_space

TARGET = Target(device="board", runtime="none", runtime_version="1", provider="none")
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-v3")


@pytest.fixture(scope="module")
def population(space):
    return space.unique(space.sample_levels(400, np.random.default_rng(0)))


def bytes_of(space, population, per_weight=1.5, per_activation=2.0, least=3 * MEGABYTE):
    """Resident bytes of a runtime that keeps so many copies of weights and activations."""
    costs = space.layers.costs(population)
    return per_weight * 4 * costs.num_params + per_activation * costs.activation_bytes + least


def fitted(space, population, targets):
    predictor = LinearInCosts(space, ("num_params", "activation_bytes"))
    predictor.fit(population, targets)
    return predictor


def profile_of(space, population, memory, role="calibration"):
    subnets = [
        SubnetLatency(
            values=space.decode(genome).values,
            role=role,
            latency_ms=1.0,
            noise=0.0,
            resident_bytes=None if one is None else round(one),
        )
        for genome, one in zip(population, memory, strict=True)
    ]
    return Profile(
        space=space.name,
        target=TARGET,
        created="2024-02-29T12:00:00+00:00",
        seed=0,
        layers=(),
        subnets=tuple(subnets),
    )


@pytest.mark.parametrize(
    "rule", [{}, {"per_weight": 1.0, "per_activation": 0.0}, {"per_weight": 0.1, "least": 50e6}]
)
def test_what_follows_the_rule_is_predicted_exactly(space, population, rule):
    targets = bytes_of(space, population, **rule)
    found = fitted(space, population[:10], targets[:10]).predict(population)
    np.testing.assert_allclose(found.mean, targets, rtol=1e-6)
    assert found.std.shape == targets.shape
    assert (found.std > 0).all()
    assert (found.std < 1e-4 * found.mean).all()
    np.testing.assert_allclose(found.upper(0.95), targets, rtol=1e-3)


def noisy(space, population, rng, share):
    return bytes_of(space, population) * np.exp(share * rng.standard_normal(len(population)))


def test_the_spread_is_that_of_what_was_left_out(space, population):
    rng = np.random.default_rng(1)
    targets = noisy(space, population, rng, 0.1)
    found = fitted(space, population[:60], targets[:60]).predict(population[60:])
    relative = found.std / found.mean
    assert np.ptp(relative) < 1e-9
    assert 0.07 < relative[0] < 0.14
    assert len(found.residuals) == 60
    assert np.sqrt(np.mean(found.residuals**2)) == pytest.approx(1.0)


def test_the_spread_is_of_subnets_that_were_not_fitted_on(space, population):
    few = population[:7]
    targets = noisy(space, few, np.random.default_rng(2), 0.2)
    relative = []
    for i in range(7):
        others = np.arange(7) != i
        alone = fitted(space, few[others], targets[others]).predict(few[i : i + 1])
        relative.append(targets[i] / alone.mean[0] - 1)
    found = fitted(space, few, targets).predict(few)
    np.testing.assert_allclose(found.std / found.mean, np.sqrt(np.mean(np.square(relative))))
    np.testing.assert_allclose(found.residuals * found.std[0] / found.mean[0], relative)


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_the_upper_bound_covers_what_it_states(space, population, coverage):
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(population))[:60]
        targets = noisy(space, population[rows], rng, 0.1)
        found = fitted(space, population[rows[:24]], targets[:24]).predict(population[rows[24:]])
        covered.append(np.mean(targets[24:] <= found.upper(coverage)))
    assert abs(np.mean(covered) - coverage) < 0.05


def test_guesses_are_never_nothing_or_less(space, population):
    """A line through a few may fall below zero elsewhere."""
    costs = space.layers.costs(population)
    few = population[np.argsort(costs.num_params)[-12:]]
    targets = bytes_of(space, few, per_weight=4.0, least=-20 * MEGABYTE)
    found = fitted(space, few, targets).predict(population)
    assert (found.mean >= targets.min() / 2).all()
    assert np.isfinite(found.upper(0.9)).all()


def test_equal_networks_are_no_hindrance(space):
    """Rank one: there is nothing to tell weights, activations and the rest apart by."""
    same = np.repeat(space.largest(), 8, axis=0)
    found = fitted(space, same, np.full(8, 7e6)).predict(space.largest())
    assert found.mean[0] == pytest.approx(7e6)
    assert np.isfinite(found.std).all()


def test_an_empty_population(space, population):
    predictor = fitted(space, population[:8], bytes_of(space, population[:8]))
    assert predictor.predict(population[:0]).mean.shape == (0,)


# --- from a profile -------------------------------------------------------------------------------


def test_a_profile_is_fitted_on(space, population):
    targets = bytes_of(space, population)
    predictor = fit_memory(space, profile_of(space, population[:8], targets[:8]))
    np.testing.assert_allclose(predictor.predict(population).mean, targets, rtol=1e-3)


@pytest.mark.parametrize("count", [0, 1, LEAST_SUBNETS - 1])
def test_too_few_subnets_tell_nothing(space, population, count):
    memory = bytes_of(space, population[:count])
    assert fit_memory(space, profile_of(space, population[:count], memory)) is None


def test_subnets_that_tell_no_memory_do_not_count(space, population):
    known = bytes_of(space, population[:20]).tolist()
    few = [one if i < LEAST_SUBNETS - 1 else None for i, one in enumerate(known)]
    assert fit_memory(space, profile_of(space, population[:20], few)) is None
    zeros = [one if i < LEAST_SUBNETS - 1 else 0 for i, one in enumerate(known)]
    assert fit_memory(space, profile_of(space, population[:20], zeros)) is None
    enough = [one if i < LEAST_SUBNETS else None for i, one in enumerate(known)]
    assert fit_memory(space, profile_of(space, population[:20], enough)) is not None


def test_held_out_subnets_are_not_fitted_on(space, population):
    memory = bytes_of(space, population[:20])
    assert fit_memory(space, profile_of(space, population[:20], memory, "held_out")) is None

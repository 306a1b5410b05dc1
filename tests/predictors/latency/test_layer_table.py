import numpy as np
import pytest

from hardware_profiles.plan import spread_specs
from hardware_profiles.profile import LayerLatency, Profile
from hardware_profiles.target import Target
from predictors.latency.layer_table import layer_table
from predictors.predictor import error_report
from search_spaces import InputError, build_space

TARGET = Target(device="board", runtime="none", runtime_version="1", provider="none")


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-cifar")


@pytest.fixture(scope="module")
def truth(space):
    """Latency (ms) of every spec: proportional to MACs, and a fixed part; 1 + specs."""
    return np.concatenate([[0.0], 0.01 + space.layers.spec_costs[1:, 0] * 5e-8])


def profile_of(space, specs, latency_ms):
    """A profile of some layers, latencies by spec position."""
    position = {spec: 1 + i for i, spec in enumerate(space.layers.specs)}
    return Profile(
        space=space.name,
        target=TARGET,
        created="2024-02-29T12:00:00+00:00",
        seed=0,
        layers=tuple(
            LayerLatency(
                layer_kind=spec.kind,
                fields=spec.values,
                latency_ms=latency_ms[position[spec]],
                noise=0.0,
            )
            for spec in specs
        ),
        subnets=(),
    )


@pytest.fixture(scope="module")
def part(space, truth):
    """(measured specs, their table), 100 of 270 specs measured."""
    specs = spread_specs(space, 100)
    return specs, layer_table(space, profile_of(space, specs, truth))


def measured_mask(space, specs):
    return np.array([spec in set(specs) for spec in space.layers.specs])


def test_measured_specs_are_looked_up_exactly(space, truth, part):
    specs, table = part
    assert table.latency_ms.shape == (1 + len(space.layers.specs),)
    assert table.latency_ms[0] == 0
    known = measured_mask(space, specs)
    assert table.num_measured == known.sum() == 100
    np.testing.assert_array_equal(table.latency_ms[1:][known], truth[1:][known])


def test_everything_measured_needs_no_regression(space):
    latency_ms = np.concatenate(
        [[0.0], np.random.default_rng(0).uniform(0.1, 1, len(space.layers.specs))]
    )
    shuffled = np.random.default_rng(1).permutation(len(space.layers.specs))
    specs = [space.layers.specs[i] for i in shuffled]
    table = layer_table(space, profile_of(space, specs, latency_ms))
    np.testing.assert_array_equal(table.latency_ms, latency_ms)
    assert table.fill_error is None
    assert table.num_measured == len(specs)


def test_the_rest_is_filled_better_than_by_a_constant(space, truth, part):
    specs, table = part
    known = measured_mask(space, specs)
    missing = truth[1:][~known]
    filled = error_report(table.latency_ms[1:][~known], missing)
    constant = error_report(np.full(len(missing), np.median(truth[1:][known])), missing)
    assert filled.mape < 0.1 < constant.mape
    assert filled.kendall > 0.9


def test_stated_error_is_cross_validated_and_beats_a_constant(space, truth, part):
    specs, table = part
    values = truth[1:][measured_mask(space, specs)]
    constant = error_report(np.full(len(values), np.median(values)), values)
    assert table.fill_error.n == len(specs)
    assert 0 < table.fill_error.mape < 0.3 * constant.mape
    assert table.fill_error.kendall > 0.8


def test_stated_error_is_about_that_of_the_specs_filled(space, truth):
    specs = spread_specs(space, len(space.layers.specs) // 2)
    table = layer_table(space, profile_of(space, specs, truth))
    known = measured_mask(space, specs)
    actual = error_report(table.latency_ms[1:][~known], truth[1:][~known])
    assert table.fill_error.mape < 2.5 * actual.mape


def test_noise_shows_in_the_stated_error(space, truth):
    specs = spread_specs(space, 100)
    noisy = truth * np.exp(np.random.default_rng(0).normal(0, 0.5, len(truth)))
    table = layer_table(space, profile_of(space, specs, noisy))
    assert table.fill_error.mape > 0.3


def test_filling_is_repeatable(space, truth, part):
    specs, table = part
    again = layer_table(space, profile_of(space, specs, truth))
    np.testing.assert_array_equal(again.latency_ms, table.latency_ms)
    assert again.fill_error == table.fill_error


@pytest.mark.parametrize("num_measured", [2, 3, 7])
def test_a_handful_of_measured_specs(space, truth, num_measured):
    table = layer_table(space, profile_of(space, space.layers.specs[:num_measured], truth))
    assert table.num_measured == num_measured
    assert (table.latency_ms[1:] > 0).all()


def test_one_measured_spec_is_refused(space, truth):
    with pytest.raises(InputError, match="1 layer of mobilenet-cifar@1"):
        layer_table(space, profile_of(space, space.layers.specs[:1], truth))


def test_layers_the_space_does_not_have_are_left_aside(space, truth):
    profile = profile_of(space, space.layers.specs, truth)
    stranger = profile.layers[0].model_copy(
        update={"fields": dict(profile.layers[0].fields) | {"out_channels": 7777}}
    )
    with_stranger = profile.model_copy(update={"layers": (stranger, *profile.layers)})
    table = layer_table(space, with_stranger)
    np.testing.assert_array_equal(table.latency_ms, truth)


def test_profile_of_another_space_is_refused(space, truth):
    profile = profile_of(space, space.layers.specs[:5], truth)
    with pytest.raises(InputError, match=r"profile of mobilenet-cifar@1.*mobilenet-digits@1"):
        layer_table(build_space("mobilenet-digits"), profile)


def test_profile_without_layers_is_refused(space, truth):
    with pytest.raises(InputError, match=r"no layer of mobilenet-cifar@1"):
        layer_table(space, profile_of(space, [], truth))

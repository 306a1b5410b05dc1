"""Real measurements of a tiny setting; nothing is asserted of how long anything takes."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import onnx
import pytest

from hardware_profiles.measure_space import (
    measure_space,
    random_subnet_onnx,
    spec_onnx,
    spread_specs,
)
from hardware_profiles.profile import Profile
from hardware_profiles.profile_device import onnx_runner
from hardware_profiles.target import this_machine
from search_spaces import SPACES, SearchSpace, build_space

TINY = {"num_calibration": 5, "num_held_out": 3, "max_specs": 12, "passes": 2}


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


@pytest.fixture(scope="module")
def measured(space):
    """(profile, calls of progress) of a tiny setting."""
    calls = []
    profile = measure_space(
        space, **TINY, seed=7, progress=lambda done, total: calls.append((done, total))
    )
    return profile, calls


def architectures(space, profile, role=None):
    return {
        space.architecture(subnet.values)
        for subnet in profile.subnets
        if role in (None, subnet.role)
    }


def macs_of_kinds(space, specs):
    """MACs of the given specs, by kind."""
    grid = space.layers
    macs = {}
    for spec in specs:
        macs.setdefault(spec.kind, []).append(grid.spec_costs[1 + grid.specs.index(spec), 0])
    return macs


def test_roles_and_counts(space, measured):
    profile, _ = measured
    assert Counter(subnet.role for subnet in profile.subnets) == {"calibration": 5, "held_out": 3}
    assert len(architectures(space, profile)) == 8
    assert len({layer.spec for layer in profile.layers}) == len(profile.layers) == 12


def test_profile_says_how_it_was_made(space, measured):
    profile, _ = measured
    assert (profile.space, profile.seed, profile.passes) == (space.name, 7, 2)
    assert profile.target.id == this_machine(1).id
    created = datetime.fromisoformat(profile.created)
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(hours=1)


def test_latencies_are_positive_and_noises_not_negative(measured):
    profile, _ = measured
    for item in (*profile.layers, *profile.subnets):
        assert 0 < item.latency_ms < float("inf")
        assert item.noise >= 0


def test_subnets_cover_the_range_of_macs(space, measured):
    profile, _ = measured
    macs = np.concatenate(
        [
            space.layers.costs(profile.population(space, role)[0]).macs
            for role in ("calibration", "held_out")
        ]
    )
    for end in (space.smallest(), space.largest()):
        assert space.layers.costs(end).macs[0] in macs
    steps = np.diff(np.sort(np.log(macs)))
    assert steps.max() < 2 * steps.mean()


def test_specs_are_of_the_space_and_spread_over_macs(space, measured):
    profile, _ = measured
    specs = [layer.spec for layer in profile.layers]
    assert set(specs) <= set(space.layers.specs)
    known = macs_of_kinds(space, space.layers.specs)
    for kind, macs in macs_of_kinds(space, specs).items():
        if len(macs) >= 5:
            ranks = np.sort(np.searchsorted(np.sort(known[kind]), macs)) / len(known[kind])
            assert np.diff([0, *ranks, 1]).max() < 3 / len(macs)


def test_progress_reaches_the_total(measured):
    _, calls = measured
    total = calls[0][1]
    assert total >= (12 + 8) * 2  # visits, and what prepares them
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_profile_survives_its_file(measured, tmp_path):
    profile, _ = measured
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == profile


def test_choice_follows_the_seed(space, measured):
    profile, _ = measured
    settings = TINY | {"passes": 1, "max_specs": 1}
    again, other = (measure_space(space, **settings, seed=seed) for seed in (7, 8))
    for role in ("calibration", "held_out"):
        assert architectures(space, again, role) == architectures(space, profile, role)
    assert architectures(space, other) != architectures(space, profile)


def test_held_out_subnets_are_not_an_end_of_the_range_by_design(space):
    """Roles are drawn: over seeds, small and large subnets are held out alike."""
    shares = []
    for seed in range(6):
        profile = measure_space(
            space, num_calibration=3, num_held_out=1, max_specs=1, passes=1, seed=seed
        )
        macs = [
            float(space.layers.costs(space.encode(space.architecture(subnet.values))).macs[0])
            for subnet in profile.subnets
        ]
        held_out = [subnet.role for subnet in profile.subnets].index("held_out")
        shares.append(sorted(macs).index(macs[held_out]))
    assert len(set(shares)) > 1


# --- which specs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SPACES))
def test_all_specs_are_taken_where_they_are_few(name):
    space = build_space(name)
    everything = spread_specs(space, len(space.layers.specs))
    assert len(everything) == len(space.layers.specs)
    assert set(everything) == set(space.layers.specs)


@pytest.mark.parametrize("limit", [1, 2, 12, 60, 150])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_as_many_distinct_specs_as_asked_for(name, limit):
    specs = spread_specs(build_space(name), limit)
    assert len(set(specs)) == len(specs) == limit


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_kind_is_measured(name):
    space = build_space(name)
    kinds = {spec.kind for spec in space.layers.specs}
    assert {spec.kind for spec in spread_specs(space, 12)} == kinds


# --- what is measured -----------------------------------------------------------------------------


def input_shape(model):
    (source,) = onnx.load_from_string(model).graph.input
    return tuple(dimension.dim_value for dimension in source.type.tensor_type.shape.dim[1:])


def test_models_are_those_of_the_specs(space):
    for spec in spread_specs(space, 12):
        model = spec_onnx(spec)
        assert input_shape(model) == spec.input_shapes[0]
        (outputs,) = onnx_runner(model)()
        if spec.kind == "classifier":
            assert outputs.shape == (1, spec["num_classes"])
        else:
            side = -(-spec["height"] // spec["stride"])
            assert outputs.shape == (1, spec["out_channels"], side, side)


def test_models_are_those_of_the_subnets(space):
    for genome in space.sample_levels(4, np.random.default_rng(0)):
        architecture = space.decode(genome)
        model = random_subnet_onnx(space, architecture)
        side = architecture.values["resolution"]
        assert input_shape(model) == (1, side, side)
        assert onnx_runner(model)()[0].shape == (1, 10)
        convolutions = [
            node for node in onnx.load_from_string(model).graph.node if node.op_type == "Conv"
        ]
        assert len(convolutions) >= len(space.layers.layers(genome[None]))


# --- settings that cannot work --------------------------------------------------------------------


def refused(space, **settings):
    """Whether settings are refused by an InputError, before anything is measured."""
    from search_spaces import InputError

    visits = []
    with pytest.raises(InputError):
        measure_space(
            space, **(TINY | {"passes": 1} | settings), progress=lambda *call: visits.append(call)
        )
    return not visits


@pytest.mark.parametrize(
    "settings",
    [{"threads": 0}, {"passes": 0}, {"max_specs": -1}, {"num_calibration": 0, "num_held_out": 0}],
    ids=str,
)
def test_impossible_settings_are_refused_at_once(space, settings):
    assert refused(space, **settings)


def test_a_space_smaller_than_the_samples_can_be_measured(space):
    tiny = SearchSpace("tiny@1", space.dimensions[:2], space.slots[:1])  # resolution and width
    assert tiny.num_architectures == 6
    profile = measure_space(tiny, num_calibration=4, num_held_out=8, max_specs=2, passes=1)
    assert {subnet.role for subnet in profile.subnets} == {"calibration", "held_out"}

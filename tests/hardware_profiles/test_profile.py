import json
from types import SimpleNamespace

import numpy as np
import pytest

from hardware_profiles.profile import LayerLatency, Profile, SubnetLatency, make_profile
from hardware_profiles.target import Target
from search_spaces import InputError, build_space

TARGET = Target(device="board", runtime="none", runtime_version="1", provider="none")


@pytest.fixture(scope="module")
def population(space):
    return space.sample_distinct(7, np.random.default_rng(0))


def profile_of(space, population, noises=None):
    """A profile of every third subnet held out; latencies are 1, 2, ... ms."""
    noises = noises or [0.01] * len(population)
    return Profile(
        space=space.name,
        target=TARGET,
        created="2024-02-29T12:00:00+00:00",
        seed=5,
        layers=tuple(
            LayerLatency(
                layer_kind=spec.kind, fields=spec.values, latency_ms=0.1 + 0.2 * i, noise=0.0
            )
            for i, spec in enumerate(space.layers.specs)
        ),
        subnets=tuple(
            SubnetLatency(
                values=space.decode(genome).values,
                role="calibration" if i % 3 else "held_out",
                latency_ms=i + 1.0,
                noise=noise,
            )
            for i, (genome, noise) in enumerate(zip(population, noises, strict=True))
        ),
    )


@pytest.fixture
def profile(space, population):
    return profile_of(space, population)


def test_round_trip(space, profile, tmp_path):
    path = tmp_path / "profile.json"
    profile.save(path)
    back = Profile.load(path)
    assert back == profile
    assert back.target.id == profile.target.id
    assert [layer.spec for layer in back.layers] == list(space.layers.specs)
    for before, after in zip(profile.subnets, back.subnets, strict=True):
        assert space.architecture(after.values) == space.architecture(before.values)
        assert {name: type(value) for name, value in after.values.items()} == {
            name: type(value) for name, value in before.values.items()
        }


def test_values_of_every_type_survive_json(profile, tmp_path):
    values = {"integer": 1, "fraction": 1.0, "word": "1", "flag": True}
    subnet = SubnetLatency(values=values, role="held_out", latency_ms=1.0, noise=0.0)
    path = tmp_path / "profile.json"
    profile.model_copy(update={"subnets": (subnet,)}).save(path)
    (back,) = Profile.load(path).subnets
    assert [(type(value), value) for value in back.values.values()] == [
        (type(value), value) for value in values.values()
    ]


def test_population_takes_the_subnets_of_a_role(space, population, profile):
    held_out, held_out_ms = profile.population(space, "held_out")
    calibration, calibration_ms = profile.population(space, "calibration")
    np.testing.assert_array_equal(held_out, population[[0, 3, 6]])
    np.testing.assert_array_equal(calibration, population[[1, 2, 4, 5]])
    assert (held_out_ms, calibration_ms) == ([1.0, 4.0, 7.0], [2.0, 3.0, 5.0, 6.0])
    assert held_out.dtype == np.int16


def test_population_of_a_role_without_subnets(space, population):
    genomes, latencies = profile_of(space, population[:1]).population(space, "calibration")
    assert genomes.shape == (0, space.num_dimensions)
    assert latencies == []


def test_profile_of_another_space(profile):
    other = build_space("mobilenet-cifar")
    for use in (profile.check_space, lambda space: profile.population(space, "held_out")):
        with pytest.raises(InputError, match=r"profile of mobilenet-digits@1.*mobilenet-cifar@1"):
            use(other)


def test_noise_is_the_median_of_the_subnets(space, population):
    assert profile_of(space, population[:3], [0.5, 0.1, 0.2]).noise == 0.2
    assert profile_of(space, population[:1], [0.3]).noise == 0.3
    assert profile_of(space, population[:0]).noise is None


def test_noise_of_an_even_number_of_subnets_lies_halfway(space, population):
    profile = profile_of(space, population[:4], [0.5, 0.1, 0.2, 0.0])
    assert profile.noise == pytest.approx(0.15)


def test_noise_that_is_unknown_does_not_count(space, population):
    assert profile_of(space, population[:3], [None, 0.1, 0.2]).noise == pytest.approx(0.15)
    assert profile_of(space, population[:2], [None, None]).noise is None


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("layers", {"latency_ms": float("nan")}, r"layers\.0\.latency_ms"),
        ("layers", {"latency_ms": float("inf")}, r"layers\.0\.latency_ms"),
        ("layers", {"latency_ms": -0.5}, r"layers\.0\.latency_ms.*-0\.5"),
        ("layers", {"latency_ms": 0.0}, r"layers\.0\.latency_ms"),
        ("layers", {"noise": -0.1}, r"layers\.0\.noise"),
        ("layers", {"surplus": 1}, r"layers\.0\.surplus"),
        ("subnets", {"latency_ms": float("nan")}, r"subnets\.0\.latency_ms"),
        ("subnets", {"latency_ms": -1.0}, r"subnets\.0\.latency_ms"),
        ("subnets", {"noise": float("nan")}, r"subnets\.0\.noise"),
        ("subnets", {"wall_ms": 0.0}, r"subnets\.0\.wall_ms"),
        ("subnets", {"visits": -1}, r"subnets\.0\.visits"),
        ("subnets", {"resident_bytes": -1}, r"subnets\.0\.resident_bytes"),
        ("subnets", {"energy_mj": float("inf")}, r"subnets\.0\.energy_mj"),
        ("subnets", {"role": "layer"}, r"subnets\.0\.role"),
        ("subnets", {"role": "training"}, r"subnets\.0\.role.*'training'"),
        ("target", {"surplus": 1}, r"target\.surplus"),
        ("target", {"threads": 0}, r"target\.threads"),
    ],
)
def test_bad_values_are_refused_and_named(profile, tmp_path, part, values, message):
    data = json.loads(profile.to_bytes())
    (data[part] if part == "target" else data[part][0]).update(values)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=rf"profile\.json: {message}"):
        Profile.load(path)


@pytest.mark.parametrize("number", [1, 3, None])
def test_profiles_of_another_format_are_refused(profile, tmp_path, number):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(json.loads(profile.to_bytes()) | {"format": number}))
    with pytest.raises(InputError, match=rf"format {number} written by .* reads format 2"):
        Profile.load(path)


def test_layer_of_an_unknown_kind_is_refused_when_used():
    layer = LayerLatency(layer_kind="no such kind", fields={}, latency_ms=1.0, noise=0.0)
    with pytest.raises(InputError, match="no such kind"):
        _ = layer.spec


# --- made of a plan and what was measured ---------------------------------------------------------


def figures(i, **changes):
    """What a network may have measured."""
    fields = {"latency_ms": i + 1.0, "noise": i / 100, "wall_ms": i + 1.5, "visits": 3}
    return SimpleNamespace(**fields | {"resident_bytes": 1000 * i} | changes)


def made(plan, measured, target=TARGET, **settings):
    known = {"created": "2024-02-29T12:00:00+00:00", "drift": 0.01, "complete": True}
    return make_profile(plan, target, measured, **known | {"made_from": {}} | settings)


def test_everything_that_was_measured_is_there(plan):
    measured = {item.id: figures(i) for i, item in enumerate(plan.items)}
    subnets = [item.id for item in plan.items if item.role != "layer"]
    profile = made(plan, measured, made_from={"windows": "12"}, energy_mj={subnets[1]: 2.5})
    assert profile.missing == {}
    assert profile.made_from == {"plan": plan.sha256, "windows": "12"}
    assert (profile.space, profile.space_settings) == (plan.space, plan.space_settings)
    assert (profile.options, profile.seed, profile.drift) == (plan.options, plan.seed, 0.01)
    for i, (item, one) in enumerate(
        zip(plan.items, [*profile.layers, *profile.subnets], strict=True)
    ):
        found = (one.latency_ms, one.noise, one.wall_ms, one.visits)
        assert found == (i + 1.0, i / 100, i + 1.5, 3)
        if item.role != "layer":
            assert (one.role, one.values, one.resident_bytes) == (item.role, item.values, 1000 * i)
            assert one.energy_mj == (2.5 if item.id == subnets[1] else None)
        else:
            assert one.spec == item.spec


def test_what_is_missing_is_counted_by_role(plan):
    by_role = {}
    for item in plan.items:
        by_role.setdefault(item.role, []).append(item.id)
    assert set(by_role) == {"layer", "calibration", "held_out"}
    there = [*by_role["layer"][:1], *by_role["calibration"]]
    profile = made(plan, {name: figures(1) for name in there}, drift=None, complete=False)
    assert (profile.complete, profile.drift) == (False, None)
    assert profile.missing == {
        "layer": len(by_role["layer"]) - 1,
        "held_out": len(by_role["held_out"]),
    }
    assert len(profile.layers) == 1
    assert {subnet.role for subnet in profile.subnets} == {"calibration"}


def test_one_visit_tells_no_noise(plan):
    once = figures(1, visits=1, noise=0.0)
    profile = made(plan, {item.id: once for item in plan.items})
    assert {one.noise for one in (*profile.layers, *profile.subnets)} == {None}

import json

import numpy as np
import pytest

from hardware_profiles.profile import LayerLatency, Profile, SubnetLatency
from hardware_profiles.target import Target
from search_spaces import InputError, build_space

TARGET = Target(device="board", runtime="none", runtime_version="1", provider="none")


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


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
        passes=3,
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
    assert profile_of(space, population[:0]).noise == 0.0


def test_noise_of_an_even_number_of_subnets_lies_halfway(space, population):
    profile = profile_of(space, population[:4], [0.5, 0.1, 0.2, 0.0])
    assert profile.noise == pytest.approx(0.15)


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


def test_layer_of_an_unknown_kind_is_refused_when_used():
    layer = LayerLatency(layer_kind="no such kind", fields={}, latency_ms=1.0, noise=0.0)
    with pytest.raises(InputError, match="no such kind"):
        _ = layer.spec

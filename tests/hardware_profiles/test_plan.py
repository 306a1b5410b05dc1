from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.plan import Plan, PlanItem, make_plan, parse_options, spread_specs
from search_spaces import SPACES, InputError, LayerSpec, SearchSpace, build_space
from tests.contracts.cached_spaces import cached_space

TINY = {"num_calibration": 5, "num_held_out": 3, "max_specs": 12}
SPACE = build_space("mobilenet-digits")


def architectures(plan, role=None, space=SPACE):
    return [
        space.architecture(item.values)
        for item in plan.items
        if item.role != "layer" and role in (None, item.role)
    ]


def specs(plan):
    return [item.spec for item in plan.items if item.role == "layer"]


def macs_of(space, chosen):
    return space.layers.costs(space.encode_all(chosen)).macs


def roles(plan):
    return Counter(item.role for item in plan.items)


# --- what is chosen -------------------------------------------------------------------------------


def test_roles_and_counts(space):
    plan = make_plan(space, **TINY)
    assert roles(plan) == {"layer": 12, "calibration": 5, "held_out": 3}
    assert len(set(architectures(plan))) == 8
    assert len(set(specs(plan))) == 12
    assert len({item.id for item in plan.items}) == 20
    plan.check_space(space)


def test_the_reference_is_a_subnet_of_middling_cost(space):
    plan = make_plan(space, **TINY)
    (reference,) = [item for item in plan.items if item.id == plan.reference]
    macs = np.sort(macs_of(space, architectures(plan)))
    assert reference.role != "layer"
    assert macs[1] < macs_of(space, [space.architecture(reference.values)])[0] < macs[-2]


def test_subnets_cover_the_range_of_macs(space):
    macs = np.sort(macs_of(space, architectures(make_plan(space, **TINY))))
    ends = space.layers.costs(np.concatenate([space.smallest(), space.largest()])).macs
    assert (macs[0], macs[-1]) == tuple(ends)
    steps = np.diff(np.log(macs))
    assert steps.max() < 2 * steps.mean()


def test_the_seed_decides(space):
    first, again, other = (make_plan(space, **TINY, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.sha256 == again.sha256 != other.sha256
    assert set(architectures(first)) != set(architectures(other))
    assert specs(first) == specs(other)


def test_a_known_plan_keeps_its_names(space):
    """Logs and kits of another day go on: ids follow from what they name alone."""
    plan = make_plan(space, **TINY)
    whole = {item.id: item for item in make_plan(space, max_specs=500).items}
    assert all(whole[item.id] == item for item in plan.items if item.role == "layer")
    names = {item.id for item in plan.items if item.role != "layer"}
    assert names == {f"subnet-{one.id}" for one in architectures(plan)}
    conv = LayerSpec.of(
        "conv_norm",
        {"in_channels": 1, "height": 8, "width": 8, "out_channels": 8, "kernel": 3, "stride": 1}
        | {"activation": "hard_swish"},
    )
    ids = {item.spec: item.id for item in make_plan(space).items if item.role == "layer"}
    assert ids[conv] == "layer-c34929fee8"  # so it was in the first version


def test_roles_are_drawn_over_the_whole_range(space):
    """Over seeds, small and large subnets are held out alike."""
    ranks = set()
    for seed in range(8):
        plan = make_plan(space, num_calibration=3, num_held_out=1, max_specs=0, seed=seed)
        macs = macs_of(space, architectures(plan)).tolist()
        ranks.add(sorted(macs).index(macs_of(space, architectures(plan, "held_out"))[0]))
    assert len(ranks) > 2


def test_without_layers_there_are_whole_subnets_only(space):
    plan = make_plan(space, num_calibration=2, num_held_out=2, max_specs=0)
    assert roles(plan) == {"calibration": 2, "held_out": 2}


def test_a_plan_without_held_out_subnets(space):
    plan = make_plan(space, num_calibration=3, num_held_out=0, max_specs=1)
    assert roles(plan) == {"layer": 1, "calibration": 3}
    plan = make_plan(space, num_calibration=1, num_held_out=0, max_specs=0)
    assert roles(plan) == {"calibration": 1}
    assert plan.reference == plan.items[0].id


# --- subnets that were chosen elsewhere -----------------------------------------------------------


@pytest.fixture
def chosen(space):
    population = space.sample_distinct(4, np.random.default_rng(3))
    return [space.decode(genome) for genome in population]


def test_given_subnets_are_those_that_calibrate(space, chosen):
    plan = make_plan(space, num_calibration=9, num_held_out=3, max_specs=0, calibration=chosen)
    assert architectures(plan, "calibration") == chosen
    assert len(architectures(plan, "held_out")) == 3
    assert not set(architectures(plan, "held_out")) & set(chosen)


def test_given_subnets_take_none_from_those_held_out(space, chosen):
    ends = [space.decode(one[0]) for one in (space.smallest(), space.largest())]
    plan = make_plan(space, num_held_out=3, max_specs=0, calibration=[*chosen, *ends])
    assert len(architectures(plan, "held_out")) == 3
    assert not set(architectures(plan, "held_out")) & {*chosen, *ends}


def test_given_subnets_that_are_there_twice_count_once(space, chosen):
    twice = [*chosen, *chosen[::-1]]
    plan = make_plan(space, num_held_out=3, max_specs=0, calibration=twice)
    assert plan == make_plan(space, num_held_out=3, max_specs=0, calibration=chosen)
    assert architectures(plan, "calibration") == chosen


def test_given_subnets_leave_the_others_of_a_small_space(space):
    tiny = SearchSpace("tiny@1", space.dimensions[:2], space.slots[:1])  # six architectures
    given = [tiny.decode(genome) for genome in tiny.sample_distinct(4, np.random.default_rng(0))]
    plan = make_plan(tiny, num_held_out=9, max_specs=0, calibration=given)
    assert roles(plan) == {"calibration": 4, "held_out": 2}


def test_given_subnets_without_any_held_out(space, chosen):
    plan = make_plan(space, num_held_out=0, max_specs=0, calibration=chosen)
    assert architectures(plan) == chosen


# --- parts of a space -----------------------------------------------------------------------------


def test_options_restrict_layers_and_subnets(space):
    options = {"resolution": (8, 12), "stage2.depth": (1,)}
    plan = make_plan(space, max_specs=500, options=options)
    assert plan.options == options
    for one in architectures(plan):
        assert one.values["resolution"] in (8, 12)
        assert one.values["stage2.depth"] == 1
        assert "stage2.block2.kernel" not in one.values
    assert {spec["height"] for spec in specs(plan)} <= {8, 12, 4, 6, 2, 3}
    assert {spec["height"] for spec in specs(plan) if spec["in_channels"] == 1} == {8, 12}
    used = {
        spec for one in architectures(plan) for _, spec in space.layers.layers(space.encode(one))
    }
    assert used <= set(specs(plan))
    plan.check_space(space)
    assert plan.sha256 != make_plan(space, max_specs=500).sha256


def test_the_layers_of_a_part_are_all_that_its_architectures_can_hold(space):
    plan = make_plan(space, max_specs=500, options={"resolution": (8,), "width": (0.5,)})
    population = space.sample(3000, np.random.default_rng(0))
    population[:, :2] = 0  # the smallest resolution and width
    found = {space.layers.specs[i - 1] for i in np.unique(space.layers.index(population)) if i}
    assert found == set(specs(plan))


def test_a_kit_of_the_design_holds_so_many_layers():
    """The 380-odd of `mobilenet-v3` at four resolutions."""
    options = {"resolution": (128, 160, 192, 224)}
    assert roles(make_plan(build_space("mobilenet-v3"), options=options))["layer"] == 376


@settings(max_examples=25)
@given(st.data(), st.integers(1, 6), st.integers(0, 6), st.integers(0, 30))
def test_every_plan_is_of_its_part(data, num_calibration, num_held_out, max_specs):
    options = {}
    for dimension in SPACE.dimensions:
        if data.draw(st.booleans()):
            kept = st.lists(st.sampled_from(dimension.options), min_size=1, unique=True)
            options[dimension.name] = tuple(data.draw(kept))
    plan = make_plan(
        SPACE,
        num_calibration=num_calibration,
        num_held_out=num_held_out,
        max_specs=max_specs,
        options=options,
    )
    plan.check_space(SPACE)
    assert plan.reference in {item.id for item in plan.items}
    for one in architectures(plan):
        for name, value in one.values.items():
            assert value in options.get(name, [value])
    subnets = architectures(plan)
    assert 0 < len(subnets) == len(set(subnets)) <= num_calibration + num_held_out
    assert roles(plan)["calibration"] >= 1
    assert roles(plan)["layer"] <= max_specs
    assert Plan.model_validate_json(plan.to_bytes()).sha256 == plan.sha256


@pytest.mark.parametrize(
    ("num_calibration", "num_held_out", "expected"),
    [
        (4, 8, {"calibration": 3, "held_out": 3}),  # six architectures there are
        (24, 16, {"calibration": 3, "held_out": 3}),
        (6, 0, {"calibration": 6}),
        (5, 1, {"calibration": 5, "held_out": 1}),
    ],
)
def test_small_spaces_have_fewer_subnets(space, num_calibration, num_held_out, expected):
    tiny = SearchSpace("tiny@1", space.dimensions[:2], space.slots[:1])  # resolution and width
    plan = make_plan(tiny, num_calibration=num_calibration, num_held_out=num_held_out, max_specs=0)
    assert roles(plan) == expected


def test_a_space_of_one_architecture(space):
    one = {dimension.name: dimension.options[:1] for dimension in space.dimensions}
    plan = make_plan(space, options=one, max_specs=2)
    assert roles(plan) == {"layer": 2, "calibration": 1}


@pytest.mark.parametrize(
    "settings",
    [{"num_calibration": 0}, {"num_calibration": -1}, {"num_held_out": -1}, {"max_specs": -1}],
    ids=str,
)
def test_impossible_settings_are_refused(space, settings):
    with pytest.raises(InputError, match="at least"):
        make_plan(space, **settings)


# --- options in words -----------------------------------------------------------------------------


def test_options_are_read_as_the_values_of_their_dimension(space):
    found = parse_options(space, ["resolution=8, 16", " width = 0.5 "])
    assert found == {"resolution": (8, 16), "width": (0.5,)}
    assert [type(value) for values in found.values() for value in values] == [int, int, float]
    assert parse_options(space, []) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resolution", "expected dimension=option,option, got 'resolution'"),
        ("resolution=9", "resolution: expected some of its options 8, 12, 16, got 9"),
        ("resolution=8,9,10", "got 9, 10"),
        ("resolution=", "got none"),
        ("resolution=,", "got none"),
        ("resolutoin=8", "unknown dimension 'resolutoin'; did you mean 'resolution'"),
        ("=8", "unknown dimension ''"),
        ("resolution=8=12", "got 8=12"),
        ("width=1", "got 1"),
    ],
)
def test_bad_options_are_named(space, text, message):
    with pytest.raises(InputError, match=message):
        parse_options(space, [text])


def test_a_dimension_that_is_named_twice_is_refused(space):
    message = "resolution is restricted twice; name its options together"
    with pytest.raises(InputError, match=message):
        parse_options(space, ["resolution=8", " resolution =12"])


# --- which layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SPACES))
def test_all_specs_are_taken_where_they_are_few(name):
    space = cached_space(name)
    everything = spread_specs(space, len(space.layers.specs))
    assert len(everything) == len(space.layers.specs)
    assert set(everything) == set(space.layers.specs)


@pytest.mark.parametrize("limit", [1, 2, 12, 60, 150])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_as_many_distinct_specs_as_asked_for(name, limit):
    space = cached_space(name)
    chosen = spread_specs(space, limit)
    assert len(set(chosen)) == len(chosen) == min(limit, len(space.layers.specs))


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_kind_is_measured(name):
    space = cached_space(name)
    kinds = {spec.kind for spec in space.layers.specs}
    assert {spec.kind for spec in spread_specs(space, 12)} == kinds


def test_specs_are_spread_over_macs(space):
    def macs(chosen):
        found = {}
        for spec in chosen:
            cost = space.layers.spec_costs[1 + space.layers.specs.index(spec), 0]
            found.setdefault(spec.kind, []).append(cost)
        return found

    known = macs(space.layers.specs)
    for kind, chosen in macs(spread_specs(space, 40)).items():
        assert min(chosen) == min(known[kind])
        if len(chosen) >= 5:
            assert max(chosen) == max(known[kind])
            ranks = np.sort(np.searchsorted(np.sort(known[kind]), chosen)) / len(known[kind])
            assert np.diff([0, *ranks, 1]).max() < 3 / len(chosen)


# --- plans from elsewhere -------------------------------------------------------------------------


def test_a_plan_survives_its_file(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    back = Plan.load(tmp_path / "plan.json")
    assert back == plan
    assert back.sha256 == plan.sha256


def test_the_version_that_wrote_a_plan_does_not_name_it(plan):
    assert Plan.model_validate(changed(plan, tool_version="9.9")).sha256 == plan.sha256
    assert Plan.model_validate(changed(plan, seed=9)).sha256 != plan.sha256


def test_a_copy_with_other_items_has_its_own_name(plan):
    assert plan.sha256 != plan.model_copy(update={"seed": 9}).sha256


def changed(plan, item=None, **changes):
    """The plan with other fields, or with its last item twice, once under these changes."""
    data = plan.model_dump(mode="json")
    if item is not None:
        data["items"].append(data["items"][-1] | item)
    return data | changes


def test_items_of_one_name_are_refused(plan):
    with pytest.raises(ValueError, match=f"item '{plan.items[-1].id}' is there twice"):
        Plan.model_validate(changed(plan, {"sha256": "0"}))


@pytest.mark.parametrize("role", ["calibration", "held_out"])
def test_one_subnet_under_two_names_is_refused(plan, role):
    with pytest.raises(ValueError, match="the same network"):
        Plan.model_validate(changed(plan, {"id": "subnet-0", "role": role}))


def test_one_layer_under_two_names_is_refused(plan):
    data = plan.model_dump(mode="json")
    data["items"].append(data["items"][0] | {"id": "layer-0"})
    with pytest.raises(ValueError, match="the same network"):
        Plan.model_validate(data)


def test_a_reference_that_is_no_item_is_refused(plan):
    with pytest.raises(ValueError, match="the reference 'layer-0' is not among the items"):
        Plan.model_validate(changed(plan, reference="layer-0"))


@pytest.mark.parametrize("name", ["../evil.onnx", "/evil.onnx", "a\\b.onnx", "a.py", "A.onnx", "."])
def test_files_that_are_no_models_of_the_kit_are_refused(plan, name):
    with pytest.raises(ValueError, match="file"):
        Plan.model_validate(changed(plan, {"id": "subnet-0", "file": name}))


def test_another_space_is_refused(plan):
    with pytest.raises(InputError, match="kit of mobilenet-cifar@1, got one of mobilenet-digits@1"):
        plan.check_space(build_space("mobilenet-cifar"))
    later = SearchSpace("mobilenet-digits@2", SPACE.dimensions, SPACE.slots)
    with pytest.raises(
        InputError, match="kit of mobilenet-digits@2, got one of mobilenet-digits@1"
    ):
        plan.check_space(later)


def test_layers_and_subnets_that_the_space_does_not_hold_are_refused(space, plan):
    spec = plan.items[0].spec
    strange = {"id": "x", "role": "layer", "layer_kind": spec.kind}
    cases = [
        (strange | {"fields": spec.values | {"height": 999}}, f"has no such {spec.kind}"),
        (strange | {"layer_kind": "pooling"}, "unknown layer kind 'pooling'"),
        (strange | {"fields": {}}, "expected fields"),
        ({"id": "x", "values": {"resolution": 9}}, "resolution: unknown option 9"),
        ({"id": "x", "values": {"resolution": 8}}, "lacks a value for 'width'"),
        ({"id": "x", "values": {"color": 8}}, "unknown dimension 'color'"),
    ]
    for item, message in cases:
        other = Plan.model_validate(changed(plan, item))
        with pytest.raises(InputError, match=message):
            other.check_space(space)


def test_layers_of_other_settings_are_refused(plan):
    """A kit for 10 classes is none for 100: its classifiers are other layers."""
    with pytest.raises(InputError, match="no such classifier"):
        plan.check_space(build_space("mobilenet-digits", num_classes=100))


def test_an_item_is_a_checked_value(plan):
    with pytest.raises(ValueError, match="role"):
        PlanItem(id="a", role="training")
    with pytest.raises(ValueError, match="surplus"):
        PlanItem(id="a", role="layer", surplus=1)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Dimension, InputError, SearchSpace, build_space
from search_spaces.part import SpacePart

DIGITS = build_space("mobilenet-digits")
CHAINED = SearchSpace(
    "chained@1",
    [
        Dimension("a", (1, 2, 3)),
        Dimension("b", ("x", "y"), ("a", frozenset({1, 2}))),
        Dimension("c", (0.5, 1.5, 2.5), ("b", frozenset({0}))),
        Dimension("d", (10, 20), ("c", frozenset({0, 2}))),
        Dimension("e", (False, True)),
    ],
)
SPACES = {"digits": DIGITS, "chained": CHAINED}


@st.composite
def parts(draw, space=DIGITS):
    """Options of some dimensions of a space."""
    options = {}
    for dimension in space.dimensions:
        if draw(st.booleans()):
            kept = st.lists(st.sampled_from(dimension.options), min_size=1, unique=True)
            options[dimension.name] = draw(kept)
    return options


def everything(space):
    """Every architecture of a small space, once: `n x d`."""
    grid = np.indices(space.num_options).reshape(space.num_dimensions, -1).T.astype(np.int16)
    return space.unique(space.canonicalize(grid))


@settings(max_examples=60)
@given(st.sampled_from(sorted(SPACES)), st.data())
def test_embedding_keeps_every_value(name, data):
    space = SPACES[name]
    options = data.draw(parts(space))
    part = SpacePart(space, options)
    population = part.space.sample(20, np.random.default_rng(data.draw(st.integers(0, 99))))
    embedded = part.embed(population)
    assert embedded.dtype == np.int16
    np.testing.assert_array_equal(embedded, space.canonicalize(embedded))
    for own, whole in zip(population, embedded, strict=True):
        values = space.decode(whole).values
        inside = part.space.decode(own).values
        assert values.items() <= inside.items()
        assert values == {name: inside[name] for name in values}
        assert all(value in options.get(name, [value]) for name, value in values.items())


@settings(max_examples=60)
@given(parts(DIGITS))
def test_a_part_costs_what_the_whole_costs(options):
    part = SpacePart(DIGITS, options)
    population = part.space.sample_levels(20, np.random.default_rng(0))
    inside, whole = part.space.layers.costs(population), DIGITS.layers.costs(part.embed(population))
    np.testing.assert_array_equal(inside.macs, whole.macs)
    np.testing.assert_array_equal(inside.num_params, whole.num_params)
    np.testing.assert_array_equal(inside.activation_bytes, whole.activation_bytes)
    for own, embedded in zip(population[:3], part.embed(population)[:3], strict=True):
        assert part.space.layers.layers(own) == DIGITS.layers.layers(embedded)
    assert set(part.space.layers.specs) <= set(DIGITS.layers.specs)


def check_whole_part(options):
    """Every architecture that the options allow is in the part, once."""
    part = SpacePart(CHAINED, options)
    allowed = {
        architecture
        for architecture in map(CHAINED.decode, everything(CHAINED))
        if all(v in options.get(name, [v]) for name, v in architecture.values.items())
    }
    held = {one for one in map(CHAINED.decode, everything(CHAINED)) if part.holds(one)}
    assert held == allowed
    embedded = [CHAINED.decode(genome) for genome in part.embed(everything(part.space))]
    assert set(embedded) == allowed
    assert len(embedded) == len(allowed) == part.space.num_architectures


@pytest.mark.parametrize(
    "options",
    [
        {"a": [2, 3]},
        {"a": [1, 3]},
        {"b": ["x"]},
        {"b": ["y", "x"], "a": [3]},
        {"c": [1.5, 2.5]},
        {"d": [20], "e": [True]},
        {"c": [1.5]},
    ],
    ids=str,
)
def test_a_part_holds_what_its_options_allow(options):
    check_whole_part(options)


@pytest.mark.parametrize("options", [{"a": [1]}, {"b": ["y"]}, {"a": [1], "c": [2.5]}], ids=str)
def test_what_is_never_active_ends_the_chain(options):
    check_whole_part(options)


def test_a_dimension_whose_parent_lost_what_activates_it_says_nothing():
    part = SpacePart(DIGITS, {"stage1.depth": [1], "stage2.depth": [1, 2]})
    by_name = {dimension.name: dimension for dimension in part.space.dimensions}
    for word in ("kernel", "expansion"):
        assert len(by_name[f"stage1.block2.{word}"].options) == 1
        assert len(by_name[f"stage2.block3.{word}"].options) == 1
        assert len(by_name[f"stage2.block2.{word}"].options) > 1
    population = part.space.sample_distinct(200, np.random.default_rng(0))
    assert len(DIGITS.unique(part.embed(population))) == 200
    names = {name for genome in part.embed(population) for name in DIGITS.decode(genome).values}
    assert "stage1.block2.kernel" not in names
    assert "stage2.block3.kernel" not in names
    assert "stage2.block2.kernel" in names


def test_the_number_of_architectures_is_that_of_the_options():
    part = SpacePart(DIGITS, {"resolution": [8, 16]})
    assert part.space.num_architectures * 3 == DIGITS.num_architectures * 2
    one = {dimension.name: dimension.options[:1] for dimension in DIGITS.dimensions}
    assert SpacePart(DIGITS, one).space.num_architectures == 1


def test_without_options_the_part_is_the_whole():
    part = SpacePart(DIGITS, {})
    assert part.space is DIGITS
    population = DIGITS.sample(5, np.random.default_rng(0))
    assert part.embed(population) is population


def test_all_options_are_the_whole_under_another_name():
    part = SpacePart(DIGITS, {d.name: d.options for d in DIGITS.dimensions})
    assert part.space.num_architectures == DIGITS.num_architectures
    population = DIGITS.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(part.embed(population), population)


def test_the_order_and_the_repeats_of_options_say_nothing():
    part = SpacePart(DIGITS, {"resolution": [16, 8, 16]})
    assert part.space.dimensions[0].options == (8, 16)
    np.testing.assert_array_equal(part.embed(part.space.largest())[0, 0], 2)


def test_a_part_has_a_name_of_its_own_and_the_settings_of_the_whole():
    space = build_space("mobilenet-digits", num_classes=7)
    part = SpacePart(space, {"resolution": [8, 12], "width": [1.0]})
    assert part.space.name == "mobilenet-digits@1[resolution=8,12 width=1.0]"
    assert part.space.settings == space.settings
    assert part.whole is space


@settings(max_examples=30)
@given(parts(DIGITS), st.integers(0, 99))
def test_a_part_holds_its_own_and_no_others(options, seed):
    part = SpacePart(DIGITS, options)
    rng = np.random.default_rng(seed)
    for genome in part.embed(part.space.sample(10, rng)):
        assert part.holds(DIGITS.decode(genome))
    for architecture in map(DIGITS.decode, DIGITS.sample(10, rng)):
        kept = all(v in options.get(name, [v]) for name, v in architecture.values.items())
        assert part.holds(architecture) == kept


def test_an_empty_population():
    part = SpacePart(DIGITS, {"resolution": [8]})
    none = np.zeros((0, DIGITS.num_dimensions), dtype=np.int16)
    assert part.embed(none).shape == none.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutoin": [8]}, "unknown dimension 'resolutoin'; did you mean 'resolution'"),
        ({"resolution": [9]}, "resolution: expected some of its options 8, 12, 16, got 9"),
        ({"resolution": [8, 9, 10]}, "got 9, 10"),
        ({"resolution": []}, "got none"),
        ({"resolution": ["8"]}, "got 8"),
        ({"width": [0.5, 2]}, "width: expected some of its options 0.5, 1.0, got 2"),
    ],
    ids=str,
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        SpacePart(DIGITS, options)


def test_equal_networks_are_equal_in_a_part_too():
    space = build_space("nasbench201")
    part = SpacePart(space, {space.dimensions[0].name: space.dimensions[0].options[:2]})
    population = part.space.sample(500, np.random.default_rng(0))
    expected = len(space.unique(part.embed(population)))
    assert expected < len(space.canonicalize(population))
    assert len(part.space.unique(population)) == expected

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Dimension, InputError, SearchSpace, build_space
from tests.contracts.space_contract import raw_population, rows, slow_canonical


@st.composite
def forests(draw):
    """Spaces of up to 6 dimensions, each with up to 4 options and perhaps an earlier parent."""
    dimensions = []
    for i in range(draw(st.integers(1, 6))):
        parent = draw(st.none() | st.integers(0, i - 1)) if i else None
        active_when = None
        if parent is not None:
            num_options = len(dimensions[parent].options)
            activating = draw(st.sets(st.integers(0, num_options - 1), min_size=1))
            active_when = (dimensions[parent].name, frozenset(activating))
        options = tuple(range(10, 10 + draw(st.integers(1, 4))))
        dimensions.append(Dimension(f"d{i}", options, active_when))
    return SearchSpace("forest@1", dimensions)


def enumerate_all(space):
    """Every canonical genome, by trying every combination of options."""
    sizes = [range(len(dimension.options)) for dimension in space.dimensions]
    return {slow_canonical(space, genome) for genome in itertools.product(*sizes)}


@given(forests())
def test_count_equals_enumeration(space):
    assert space.num_architectures == len(enumerate_all(space))


@given(forests())
def test_all_architectures_are_every_one_once(space):
    found = space.all_architectures()
    assert found.dtype == np.int16
    assert len(found) == space.num_architectures
    assert set(rows(found)) == enumerate_all(space)


def test_another_network_key_leaves_the_rest_as_it_is():
    space = build_space("mobilenet-digits")
    other = space.with_network_key(lambda population: population[:, :1] // 2)
    population = space.sample(50, np.random.default_rng(0))
    assert len(other.unique(population)) == 2
    assert len(space.unique(population)) > 40
    assert other.decode(population[0]) == space.decode(population[0])
    assert (other.cells, other.settings) == (space.cells, space.settings)
    np.testing.assert_array_equal(
        other.layers.costs(population).macs, space.layers.costs(population).macs
    )


@given(forests())
def test_canonicalize_equals_enumeration(space):
    sizes = [range(len(dimension.options)) for dimension in space.dimensions]
    population = np.array(list(itertools.product(*sizes)), dtype=np.int16)
    expected = [slow_canonical(space, genome) for genome in population]
    assert rows(space.canonicalize(population)) == expected


@given(forests(), st.integers(0, 2**32 - 1))
def test_mutation_and_crossover_stay_in_the_space(space, seed):
    rng = np.random.default_rng(seed)
    everything = enumerate_all(space)
    population = space.sample(20, rng)
    for made in (
        population,
        space.sample_levels(20, rng),
        space.mutate(population, 0.4, rng),
        space.crossover(population, population[::-1], rng),
        space.neighbours(population[0]),
    ):
        assert set(rows(made)) <= everything


@given(forests(), st.integers(0, 2**32 - 1))
def test_sample_distinct_gives_what_there_is(space, seed):
    wanted = space.num_architectures + 5
    found = rows(space.sample_distinct(wanted, np.random.default_rng(seed)))
    assert len(set(found)) == len(found) <= space.num_architectures
    few = space.sample_distinct(1, np.random.default_rng(seed))
    assert few.shape == (1, space.num_dimensions)


def test_chain_counts_by_hand():
    space = SearchSpace(
        "chain@1",
        [
            Dimension("a", (1, 2, 3)),
            Dimension("b", (1, 2), ("a", frozenset({1, 2}))),
            Dimension("c", (1, 2, 3, 4), ("b", frozenset({1}))),
            Dimension("free", (1, 2, 3)),
        ],
    )
    # a = 1: 1; a = 2 and a = 3: b = 1 (1) or b = 2 (4 of c) each; 3 of the free one
    assert space.num_architectures == (1 + 2 * (1 + 4)) * 3


def test_counts_exceed_64_bits_exactly():
    space = SearchSpace("wide@1", [Dimension(f"d{i}", (1, 2, 3)) for i in range(60)])
    assert space.num_architectures == 3**60


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet-digits", 3 * 2 * sum((2 * 3) ** depth for depth in (1, 2, 3)) ** 3),
        ("mobilenet-cifar", 3 * 2 * sum((2 * 3) ** depth for depth in (2, 3, 4)) ** 4),
        ("mobilenet-v3", 25 * 7371**5),  # arXiv:1908.09791 states 7371^5 for each resolution
    ],
)
def test_catalogue_counts(name, expected):
    assert build_space(name).num_architectures == expected


def test_sample_distinct_exhausts_a_small_space():
    space = SearchSpace("small@1", [Dimension("a", (1, 2, 3)), Dimension("b", (1, 2))])
    found = rows(space.sample_distinct(100, np.random.default_rng(0)))
    assert sorted(found) == sorted(itertools.product(range(3), range(2)))


def test_mutation_moves_to_every_other_option_equally_often():
    space = SearchSpace("flat@1", [Dimension("a", (1, 2, 3, 4)), Dimension("b", (1, 2, 3))])
    population = np.tile(np.array([[2, 0]], dtype=np.int16), (6000, 1))
    mutated = space.mutate(population, 1.0, np.random.default_rng(0))
    for column, options in ((0, [0, 1, 3]), (1, [1, 2])):
        found, counts = np.unique(mutated[:, column], return_counts=True)
        assert found.tolist() == options
        assert np.abs(counts / 6000 - 1 / len(options)).max() < 0.04


def test_mutation_rate_is_the_share_of_changed_dimensions():
    space = SearchSpace("flat@1", [Dimension(f"d{i}", (1, 2, 3)) for i in range(40)])
    population = space.sample(500, np.random.default_rng(0))
    for rate in (0.1, 0.5, 0.9):
        changed = space.mutate(population, rate, np.random.default_rng(1)) != population
        assert abs(changed.mean() - rate) < 0.02
    least = space.mutate(population, 0.0, np.random.default_rng(1)) != population
    assert (least.sum(axis=1) == 1).all()


def test_a_space_without_choice_has_one_architecture_and_no_neighbours():
    space = SearchSpace("one@1", [Dimension("a", (3,)), Dimension("b", ("x",))])
    rng = np.random.default_rng(0)
    assert space.num_architectures == 1
    assert len(space.neighbours(space.smallest())) == 0
    np.testing.assert_array_equal(space.mutate(space.smallest(), 1.0, rng), space.smallest())


# --- dimensions that do not make a space ----------------------------------------------------------

A = Dimension("a", (1, 2))


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ([A, Dimension("b", (1,)), A], "names must be unique"),
        ([Dimension("a", ())], r"a: expected distinct options, got \(\)"),
        ([Dimension("a", (1, 2, 1))], "a: expected distinct options"),
        ([Dimension("a", (1, True))], "a: expected distinct options"),  # True == 1
        ([Dimension("a", (3, 5, 4))], "a: options must ascend"),
        ([Dimension("a", (1.0, 0.5))], "a: options must ascend"),
        ([Dimension("a", (True, False))], "a: options must ascend"),
        ([Dimension("b", (1, 2), ("a", frozenset({0}))), A], "parent 'a' must be an earlier"),
        ([Dimension("b", (1, 2), ("b", frozenset({0})))], "parent 'b' must be an earlier"),
        ([A, Dimension("b", (1, 2), ("no", frozenset({0})))], "parent 'no' must be an earlier"),
        ([A, Dimension("b", (1, 2), ("a", frozenset()))], r"activating indices \[\]"),
        ([A, Dimension("b", (1, 2), ("a", frozenset({2})))], r"activating indices \[2\]"),
        ([A, Dimension("b", (1, 2), ("a", frozenset({-1})))], r"activating indices \[-1\]"),
    ],
)
def test_faulty_dimensions_are_refused(dimensions, message):
    with pytest.raises(InputError, match=message):
        SearchSpace("faulty@1", dimensions)


def test_words_need_no_order():
    space = SearchSpace("words@1", [Dimension("operation", ("skip", "conv", "none"))])
    assert space.architecture({"operation": "conv"}).choices == (("operation", "conv"),)


# --- values that are not in the space -------------------------------------------------------------


@pytest.fixture
def digits():
    return build_space("mobilenet-digits")


@pytest.fixture
def values(digits):
    return dict(digits.decode(digits.largest()[0]).values)


def test_unknown_dimension_names_the_nearest(digits, values):
    with pytest.raises(InputError, match=r"'stage1\.depht'; did you mean 'stage1\.depth'"):
        digits.architecture(values | {"stage1.depht": 2})


def test_unknown_option_lists_the_valid_ones(digits, values):
    with pytest.raises(InputError, match=r"resolution: unknown option 13; options: 8, 12, 16"):
        digits.architecture(values | {"resolution": 13})


def test_an_option_is_checked_even_where_it_is_inactive(digits, values):
    with pytest.raises(InputError, match=r"stage1\.block3\.kernel: unknown option 4"):
        digits.architecture(values | {"stage1.depth": 1, "stage1.block3.kernel": 4})


def test_true_is_not_one(digits, values):
    assert values | {"stage1.depth": 1}  # 1 is an option, and True == 1
    with pytest.raises(InputError, match=r"stage1\.depth: unknown option True"):
        digits.architecture(values | {"stage1.depth": True})
    with pytest.raises(InputError, match="width: unknown option True"):
        digits.architecture(values | {"width": True})
    flags = SearchSpace("flags@1", [Dimension("skip", (False, True))])
    with pytest.raises(InputError, match="skip: unknown option 1"):
        flags.architecture({"skip": 1})


def test_numbers_that_mean_the_same_are_the_same_architecture(digits, values):
    loose = digits.architecture(values | {"resolution": 16.0, "width": 1})
    assert loose == digits.architecture(values)
    assert loose.id == digits.architecture(values).id


@pytest.mark.parametrize("value", ["8", None, [8], {"r": 8}, float("nan"), float("inf")])
def test_values_of_other_types_are_refused(digits, values, value):
    with pytest.raises(InputError, match="resolution: unknown option"):
        digits.architecture(values | {"resolution": value})


def test_missing_active_dimension_is_named(digits, values):
    del values["stage2.block2.kernel"]
    with pytest.raises(InputError, match=r"lacks a value for 'stage2\.block2\.kernel'.*3, 5"):
        digits.architecture(values)
    shallow = digits.architecture(values | {"stage2.depth": 1})  # inactive: nothing is missing
    assert "stage2.block2.kernel" not in shallow.values


def test_parse_without_a_form_of_its_own_reads_json():
    space = SearchSpace("plain@1", [Dimension("a", (1, 2)), Dimension("b", ("x", "y"))])
    assert space.parse('{"b": "y", "a": 2}').choices == (("a", 2), ("b", "y"))
    with pytest.raises(InputError, match=r"not an architecture of plain@1"):
        space.parse("a=2")


def test_errors_of_long_texts_are_short(digits):
    with pytest.raises(InputError) as caught:
        digits.parse("x" * 100_000)
    assert len(str(caught.value)) < 300


def test_choices_follow_the_order_of_the_space(digits):
    for genome in digits.canonicalize(raw_population(digits, 10, 0)):
        architecture = digits.decode(genome)
        order = [d.name for d in digits.dimensions if d.name in architecture.values]
        assert [name for name, _ in architecture.choices] == order
        shuffled = json.loads(json.dumps(dict(architecture.values), sort_keys=True))
        assert digits.architecture(shuffled) == architecture


@pytest.mark.parametrize("index", [65536, -65536, 0.9])
def test_decode_refuses_what_16_bits_would_fold_into_range(digits, index):
    genome = np.zeros(digits.num_dimensions, dtype=np.asarray(index).dtype)
    genome[0] = index
    with pytest.raises(InputError, match="genome"):
        digits.decode(genome)

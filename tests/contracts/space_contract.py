import json

import numpy as np
import pytest

from search_spaces import Architecture, InputError, SearchSpace


def slow_activity(space: SearchSpace, genome) -> list[bool]:
    """Activity of every dimension of one genome, one dimension after the other: the oracle."""
    active: dict[str, bool] = {}
    index = {dimension.name: int(genome[i]) for i, dimension in enumerate(space.dimensions)}
    for dimension in space.dimensions:
        if dimension.active_when is None:
            active[dimension.name] = True
        else:
            parent, activating = dimension.active_when
            active[dimension.name] = active[parent] and index[parent] in activating
    return [active[dimension.name] for dimension in space.dimensions]


def slow_canonical(space: SearchSpace, genome) -> tuple[int, ...]:
    """The canonical form of one genome, as a tuple that a set can hold."""
    activity = slow_activity(space, genome)
    return tuple(
        int(option) if active else 0 for option, active in zip(genome, activity, strict=True)
    )


def raw_population(space: SearchSpace, n: int, seed: int) -> np.ndarray:
    """`n x d` option indices in range, not canonical."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, space.num_options, (n, space.num_dimensions), dtype=np.int16)


def rows(population) -> list[tuple[int, ...]]:
    """A population as tuples of ints."""
    return [tuple(row) for row in population.tolist()]


OPERATIONS = {
    "canonicalize": lambda space, rng: space.canonicalize(raw_population(space, 40, 1)),
    "sample": lambda space, rng: space.sample(40, rng),
    "sample_levels": lambda space, rng: space.sample_levels(40, rng),
    "sample_distinct": lambda space, rng: space.sample_distinct(40, rng),
    "mutate": lambda space, rng: space.mutate(space.sample(40, rng), 0.3, rng),
    "mutate all": lambda space, rng: space.mutate(space.sample(40, rng), 1.0, rng),
    "crossover": lambda space, rng: space.crossover(
        space.sample(40, rng), space.sample_levels(40, rng), rng
    ),
    "neighbours": lambda space, rng: space.neighbours(space.sample(1, rng)),
    "unique": lambda space, rng: space.unique(space.sample(40, rng)),
    "smallest": lambda space, rng: space.smallest(),
    "largest": lambda space, rng: space.largest(),
}


class SpaceContract:
    """What every search space promises.

    A subclass has a fixture `space`. The whole catalogue is tried in one place, `test_spaces.py`;
    published text forms are tried where their families are.
    """

    # --- canonical form ---------------------------------------------------------------------------

    def test_activity_is_what_the_dimensions_say(self, space):
        population = raw_population(space, 60, 0)
        expected = [slow_activity(space, genome) for genome in population]
        assert space.active(population).tolist() == expected

    def test_canonicalize_sets_inactive_dimensions_to_zero_and_no_other(self, space):
        population = raw_population(space, 60, 0)
        expected = [slow_canonical(space, genome) for genome in population]
        assert rows(space.canonicalize(population)) == expected

    def test_canonicalize_is_idempotent(self, space):
        once = space.canonicalize(raw_population(space, 60, 0))
        np.testing.assert_array_equal(space.canonicalize(once), once)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_operations_yield_canonical_genomes_in_range(self, space, operation):
        population = OPERATIONS[operation](space, np.random.default_rng(3))
        assert population.dtype == np.int16
        assert population.ndim == 2
        assert population.shape[1] == space.num_dimensions
        sizes = np.array([len(dimension.options) for dimension in space.dimensions])
        assert ((population >= 0) & (population < sizes)).all()
        assert rows(population) == [slow_canonical(space, genome) for genome in population]

    def test_operations_leave_their_input_alone(self, space):
        rng = np.random.default_rng(3)
        population = raw_population(space, 20, 0)
        before = population.copy()
        space.canonicalize(population)
        space.mutate(population, 0.5, rng)
        space.crossover(population, population[::-1], rng)
        space.neighbours(population[:1])
        space.unique(population)
        space.features(population)
        np.testing.assert_array_equal(population, before)

    # --- populations ------------------------------------------------------------------------------

    def test_sampling_follows_the_seed(self, space):
        for draw in (space.sample, space.sample_levels, space.sample_distinct):
            first, again, other = (draw(30, np.random.default_rng(seed)) for seed in (5, 5, 6))
            np.testing.assert_array_equal(first, again)
            if space.num_architectures > 10_000:
                assert rows(first) != rows(other)

    def test_sample_is_uniform_over_the_options_of_unconditional_dimensions(self, space):
        n = 4000
        population = space.sample(n, np.random.default_rng(11))
        for i, dimension in enumerate(space.dimensions):
            if dimension.active_when is None:
                share = 1 / len(dimension.options)
                counts = np.bincount(population[:, i], minlength=len(dimension.options))
                spread = (n * share * (1 - share)) ** 0.5
                assert (np.abs(counts - n * share) <= 5 * spread).all()

    def test_sample_distinct_has_no_repeats(self, space):
        n = min(200, space.num_architectures)
        population = space.sample_distinct(n, np.random.default_rng(0))
        assert len(set(rows(population))) == len(population) == n

    @pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
    def test_mutate_changes_every_row_that_can_change(self, space, rate):
        population = space.sample(80, np.random.default_rng(0))
        mutated = space.mutate(population, rate, np.random.default_rng(1))
        assert mutated.shape == population.shape
        for before, after in zip(population, mutated, strict=True):
            active = slow_activity(space, before)
            if any(a and len(d.options) > 1 for a, d in zip(active, space.dimensions, strict=True)):
                assert tuple(before) != tuple(after)

    def test_mutate_at_rate_one_changes_every_dimension_that_stays_active(self, space):
        population = space.sample(80, np.random.default_rng(0))
        mutated = space.mutate(population, 1.0, np.random.default_rng(1))
        for before, after in zip(population, mutated, strict=True):
            was, still = slow_activity(space, before), slow_activity(space, after)
            for i, dimension in enumerate(space.dimensions):
                if was[i] and still[i] and len(dimension.options) > 1:
                    assert before[i] != after[i]

    def test_crossover_takes_every_option_from_a_parent(self, space):
        rng = np.random.default_rng(2)
        first, second = space.sample(80, rng), space.sample(80, rng)
        children = space.crossover(first, second, rng)
        activity = np.array([slow_activity(space, child) for child in children])
        from_first, from_second = children == first, children == second
        assert (from_first | from_second | ~activity).all()
        if space.num_architectures > 10_000:  # one child has what only either parent had
            mixed = (from_first & ~from_second).any(axis=1) & (from_second & ~from_first).any(
                axis=1
            )
            assert mixed.any()

    def test_neighbours_are_all_architectures_one_change_away(self, space):
        for genome in space.sample(3, np.random.default_rng(4)):
            expected = set()
            for i, active in enumerate(slow_activity(space, genome)):
                for option in range(len(space.dimensions[i].options)):
                    changed = genome.copy()
                    changed[i] = option
                    if active and option != genome[i]:
                        expected.add(slow_canonical(space, changed))
            found = rows(space.neighbours(genome))
            assert len(set(found)) == len(found)
            assert set(found) == expected
            assert tuple(genome.tolist()) not in found
            assert rows(space.neighbours(genome[None])) == found

    def test_unique_keeps_the_first_of_equal_rows_in_order(self, space):
        population = space.sample(40, np.random.default_rng(0))
        expected = rows(space.unique(population))
        assert len(set(expected)) == len(expected)
        assert set(expected) <= set(rows(population))
        repeated = np.concatenate([population, population[::-1]])
        assert rows(space.unique(repeated)) == expected
        keys = space.equivalence_key(population)
        assert len(expected) == len({tuple(key) for key in keys.tolist()})
        positions = [rows(population).index(row) for row in expected]
        assert positions == sorted(positions)

    def test_equal_architectures_have_equal_equivalence_keys(self, space):
        population = raw_population(space, 40, 0)
        canonical = space.canonicalize(population)
        np.testing.assert_array_equal(
            space.equivalence_key(population), space.equivalence_key(canonical)
        )

    def test_smallest_and_largest_hold_the_ends_of_every_active_dimension(self, space):
        (smallest,), (largest,) = space.smallest(), space.largest()
        assert not smallest.any()
        active = slow_activity(space, largest)
        for i, dimension in enumerate(space.dimensions):
            assert largest[i] == (len(dimension.options) - 1 if active[i] else 0)

    def test_features_are_one_hot_over_active_dimensions(self, space):
        population = space.sample_distinct(60, np.random.default_rng(0))
        features = space.features(population)
        assert features.dtype == np.float32
        assert features.shape == (
            len(population),
            sum(len(dimension.options) for dimension in space.dimensions),
        )
        assert set(np.unique(features)) <= {0.0, 1.0}
        activity = np.array([slow_activity(space, genome) for genome in population])
        np.testing.assert_array_equal(features.sum(axis=1), activity.sum(axis=1))
        start = 0
        for i, dimension in enumerate(space.dimensions):
            block = features[:, start : start + len(dimension.options)]
            np.testing.assert_array_equal(block.sum(axis=1), activity[:, i])
            np.testing.assert_array_equal(
                block.argmax(axis=1)[activity[:, i]], population[activity[:, i], i]
            )
            start += len(dimension.options)
        assert len(np.unique(features, axis=0)) == len(population)

    def test_features_of_a_genome_and_of_its_canonical_form_agree(self, space):
        population = raw_population(space, 40, 0)
        np.testing.assert_array_equal(
            space.features(population), space.features(space.canonicalize(population))
        )

    def test_count_is_exact_int_and_no_less_than_what_was_seen(self, space):
        assert type(space.num_architectures) is int
        seen = set(rows(space.sample(3000, np.random.default_rng(0))))
        assert len(seen) <= space.num_architectures

    def test_empty_populations_stay_empty(self, space):
        rng = np.random.default_rng(0)
        empty = space.sample(0, rng)
        for population in (empty, space.canonicalize(empty), space.unique(empty)):
            assert population.shape == (0, space.num_dimensions)
        assert space.mutate(empty, 0.5, rng).shape == (0, space.num_dimensions)
        assert space.crossover(empty, empty, rng).shape == (0, space.num_dimensions)
        assert len(space.features(empty)) == 0
        assert space.encode_all([]).shape == (0, space.num_dimensions)

    # --- the doors --------------------------------------------------------------------------------

    def test_decode_and_encode_are_inverse(self, space):
        population = space.sample(40, np.random.default_rng(0))
        architectures = [space.decode(genome) for genome in population]
        np.testing.assert_array_equal(space.encode_all(architectures), population)
        for genome, architecture in zip(population, architectures, strict=True):
            assert rows(space.encode(architecture)) == [tuple(genome.tolist())]
            expected = {
                dimension.name: dimension.options[option]
                for dimension, option, active in zip(
                    space.dimensions, genome, slow_activity(space, genome), strict=True
                )
                if active
            }
            assert dict(architecture.values) == expected

    def test_decode_ignores_inactive_dimensions(self, space):
        for genome in raw_population(space, 40, 0):
            assert space.decode(genome) == space.decode(np.array(slow_canonical(space, genome)))

    def test_equal_choices_are_one_value(self, space):
        genome = space.sample(1, np.random.default_rng(0))[0]
        first, second = space.decode(genome), space.decode(genome.copy())
        from_values = space.architecture(dict(reversed(first.choices)))
        assert first == second == from_values
        assert hash(first) == hash(second) == hash(from_values)
        assert first.id == second.id == from_values.id == str(first)
        assert len({first, second, from_values}) == 1
        everything = {
            dimension.name: dimension.options[option]
            for dimension, option in zip(space.dimensions, genome, strict=True)
        }
        assert space.architecture(everything) == first  # values of inactive dimensions say nothing

    def test_different_choices_are_different_values(self, space):
        population = space.sample_distinct(300, np.random.default_rng(0))
        architectures = [space.decode(genome) for genome in population]
        assert len(set(architectures)) == len(population)
        assert len({architecture.id for architecture in architectures}) == len(population)

    def test_json_round_trip(self, space):
        for genome in space.sample(20, np.random.default_rng(0)):
            architecture = space.decode(genome)
            data = json.loads(json.dumps(architecture.to_json()))
            assert data["space"] == space.name
            back = space.architecture(data["values"])
            assert back == architecture
            assert back.id == data["id"] == architecture.id

    def test_parse_reads_values_by_name(self, space):
        for genome in space.sample(20, np.random.default_rng(0)):
            architecture = space.decode(genome)
            assert space.parse(json.dumps(dict(architecture.values))) == architecture

    @pytest.mark.parametrize("text", ["", "not an architecture", "{", "[1, 2]", "null", "3", "{}"])
    def test_parse_refuses_other_text(self, space, text):
        with pytest.raises(InputError, match="architecture"):
            space.parse(text)

    def test_unknown_and_missing_values_are_refused(self, space):
        values = dict(space.decode(space.largest()[0]).values)
        name = space.dimensions[0].name
        with pytest.raises(InputError, match="unknown dimension"):
            space.architecture(values | {"no such dimension": 1})
        with pytest.raises(InputError, match=f"{name}: unknown option"):
            space.architecture(values | {name: "no such option"})
        for missing in values:
            partial = {key: value for key, value in values.items() if key != missing}
            with pytest.raises(InputError, match="lacks a value for"):
                space.architecture(partial)

    def test_genomes_out_of_range_are_refused(self, space):
        smallest = space.smallest()[0]
        for genome in (smallest[1:], smallest - 1, smallest + space.num_options):
            with pytest.raises(InputError, match="genome"):
                space.decode(genome)

    def test_architectures_of_another_space_are_refused(self, space):
        stranger = Architecture("another@1", space.decode(space.smallest()[0]).choices)
        with pytest.raises(InputError, match="another@1"):
            space.encode(stranger)

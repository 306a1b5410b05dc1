import numpy as np
import pytest

from search_spaces import (
    SPACES,
    Dimension,
    LayerSlot,
    LayerSpec,
    SearchSpace,
    layer_grid,
)
from search_spaces.layer_spec import BYTES_PER_ELEMENT, LAYER_KINDS
from tests.contracts.cached_spaces import cached_space
from tests.contracts.space_contract import raw_population

CONV = {"height": 6, "width": 6, "stride": 1, "activation": "relu"}


def hand_made_fields(slot, values):
    """The layer of each slot for one architecture, in plain Python; None where there is none."""
    if slot == "first":
        sizes = {"in_channels": 3, "out_channels": values["channels"], "kernel": values["kernel"]}
    elif values["depth"] < 2:
        return None
    else:
        sizes = {
            "in_channels": values["channels"],
            "out_channels": 2 * values["channels"],
            "kernel": {"small": 1, "large": 5}[values["size"]],
        }
    return LayerSpec.of("conv_norm", CONV | sizes)


@pytest.fixture
def space():
    """Slots that depend on dimensions in another order than the space has, one of them optional;
    `first` and `repeated` share all their specs.
    """

    def first(values):
        sizes = {"in_channels": 3, "out_channels": values["channels"], "kernel": values["kernel"]}
        return CONV | sizes

    def second(values):
        return CONV | {
            "in_channels": values["channels"],
            "out_channels": 2 * values["channels"],
            "kernel": np.where(values["size"] == "small", 1, 5),
        }

    return SearchSpace(
        "grid@1",
        [
            Dimension("kernel", (1, 3, 5, 7)),
            Dimension("depth", (1, 2, 3)),
            Dimension("channels", (4, 8)),
            Dimension("size", ("small", "large"), ("depth", frozenset({1, 2}))),
        ],
        [
            LayerSlot("first", "conv_norm", ("channels", "kernel"), first),
            LayerSlot(
                "second",
                "conv_norm",
                ("size", "depth", "channels"),
                second,
                present=lambda values: values["depth"] >= 2,
            ),
            LayerSlot("repeated", "conv_norm", ("kernel", "channels"), first),
        ],
    )


def test_layers_equal_a_slow_loop(space):
    for genome in raw_population(space, 200, 0):
        values = {d.name: d.options[i] for d, i in zip(space.dimensions, genome, strict=True)}
        expected = [
            (name, hand_made_fields("second" if name == "second" else "first", values))
            for name in ("first", "second", "repeated")
        ]
        assert space.layers.layers(genome) == [(name, spec) for name, spec in expected if spec]


def test_specs_are_distinct_and_shared_between_slots(space):
    specs = space.layers.specs
    assert len(set(specs)) == len(specs) == 4 * 2 + 2 * 2
    index = space.layers.index(space.sample(50, np.random.default_rng(0)))
    np.testing.assert_array_equal(index[:, 0], index[:, 2])


def test_empty_slots_have_index_zero(space):
    population = space.sample(100, np.random.default_rng(0))
    index = space.layers.index(population)
    assert index.shape == (100, 3)
    np.testing.assert_array_equal(index[:, 1] == 0, population[:, 1] == 0)
    assert (index[:, [0, 2]] > 0).all()


def slow_costs(space, genome):
    """Costs of one architecture by adding up its layers one by one.

    Memory is that of layers of one input: two inputs may be one tensor, which counts once.
    """
    single = [s for _, s in space.layers.layers(genome) if len(s.inputs) == 1]
    layers = [(LAYER_KINDS[spec.kind], spec.values) for _, spec in space.layers.layers(genome)]
    return {
        "macs": sum(int(kind.macs(fields)) for kind, fields in layers),
        "num_params": sum(int(kind.num_params(fields)) for kind, fields in layers),
        "activation_bytes": BYTES_PER_ELEMENT
        * max(int(LAYER_KINDS[s.kind].peak_elements(s.values, (False, False))) for s in single),
    }


@pytest.mark.parametrize("name", [None, *SPACES])
def test_costs_equal_a_slow_loop(space, name, monkeypatch):
    monkeypatch.setattr(layer_grid, "CHUNK", 16)  # 33 rows: two blocks and one row more
    space = cached_space(name) if name else space
    population = np.concatenate([raw_population(space, 31, 0), space.smallest(), space.largest()])
    costs = space.layers.costs(population)
    for array in (costs.macs, costs.num_params, costs.activation_bytes):
        assert array.shape == (len(population),)
    is_chain = not any(slot.reads for slot in space.slots)
    for i, genome in enumerate(population):
        found, expected = costs.row(i), slow_costs(space, genome)
        if not is_chain:  # other layers' outputs are alive beside the running one
            assert found.pop("activation_bytes") >= expected.pop("activation_bytes")
        assert found == expected


@pytest.mark.parametrize("name", SPACES)
def test_inactive_dimensions_cost_nothing(name):
    space = cached_space(name)
    population = raw_population(space, 60, 1)
    canonical = space.canonicalize(population)
    is_conditional = any(d.active_when for d in space.dimensions)
    assert (population != canonical).any() == is_conditional
    np.testing.assert_array_equal(space.layers.index(population), space.layers.index(canonical))


@pytest.mark.parametrize("name", SPACES)
def test_sum_equals_a_slow_loop(name, monkeypatch):
    monkeypatch.setattr(layer_grid, "CHUNK", 16)
    space = cached_space(name)
    values = np.random.default_rng(0).uniform(1, 2, 1 + len(space.layers.specs))
    values[0] = 0.0
    value_of = dict(zip(space.layers.specs, values[1:], strict=True))
    population = space.sample(33, np.random.default_rng(1))
    expected = [
        sum(value_of[spec] for _, spec in space.layers.layers(genome)) for genome in population
    ]
    np.testing.assert_allclose(space.layers.sum(population, values), expected, rtol=1e-12)


def test_populations_longer_than_a_chunk(space):
    population = space.sample(layer_grid.CHUNK + 3, np.random.default_rng(0))
    costs = space.layers.costs(population)
    for i in (0, layer_grid.CHUNK - 1, layer_grid.CHUNK, len(population) - 1):
        assert costs.row(i) == slow_costs(space, population[i])
    values = np.arange(1 + len(space.layers.specs), dtype=np.float64)
    np.testing.assert_array_equal(
        space.layers.sum(population, values), space.layers.index(population).sum(axis=1)
    )


def test_empty_populations_cost_nothing(space):
    empty = space.sample(0, np.random.default_rng(0))
    assert space.layers.costs(empty).macs.shape == (0,)
    assert space.layers.sum(empty, np.zeros(1 + len(space.layers.specs))).shape == (0,)


@pytest.mark.parametrize("name", SPACES)
def test_slot_specs_are_all_that_a_slot_can_hold(name):
    space = cached_space(name)
    held = dict(space.layers.slot_specs())
    assert list(held) == [slot.name for slot in space.slots]
    assert {spec for specs in held.values() for spec in specs} == set(space.layers.specs)
    for genome in space.sample(200, np.random.default_rng(0)):
        for slot, spec in space.layers.layers(genome):
            assert spec in held[slot]

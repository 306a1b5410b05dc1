import csv
import gzip

import numpy as np
import pytest
import torch

from search_spaces import InputError, build_space
from search_spaces.nasbench_macro import BLOCKS, layer_digits
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import (
    SupernetContract,
    batch_of,
    joined,
    randomise,
    shared_positions,
)


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench-macro")


def genome(space, digits):
    return space.encode(space.parse(digits))


def every(space):
    return np.stack(np.unravel_index(np.arange(3**8), [3] * 8), axis=1).astype(np.int16)


def test_digits_stand_for_layers_and_leading_zeros_count(space):
    values = space.parse("00000012").values
    assert [values[d.name] for d in space.dimensions] == [BLOCKS[int(d)] for d in "00000012"]
    assert layer_digits(space.parse("01020120")) == "01020120"


@pytest.mark.parametrize("text", ["1234567", "0000000", "000000000", "0000 000", "", "00000003"])
def test_other_text_is_refused(space, text):
    with pytest.raises(InputError, match="expected 8 digits"):
        space.parse(text)


def test_values_by_name_are_read_too(space):
    architecture = space.parse("21012021")
    text = str(dict(architecture.values)).replace("'", '"')
    assert space.parse(text) == architecture


# --- equal networks -------------------------------------------------------------------------------


def chain(genome):
    """The layers a network runs, stage by stage: what it is, whatever it was written as."""
    stages = (genome[:2], genome[2:5], genome[5:])
    return tuple((stage[0], *(block for block in stage[1:] if block)) for stage in stages)


def test_keys_are_equal_exactly_where_the_chain_of_layers_is(space):
    population = every(space)
    keys = [tuple(key) for key in space.equivalence_key(population).tolist()]
    chains = [chain(row) for row in population.tolist()]
    assert len(set(keys)) == len(set(chains)) == len(set(zip(keys, chains, strict=True))) == 3969


def test_an_identity_that_changes_the_size_stays_where_it_is(space):
    keys = space.equivalence_key(
        np.concatenate([genome(space, d) for d in ("01011001", "01101001", "01011010", "10011001")])
    )
    assert (keys[0] == keys[2]).all()
    assert (keys[0] != keys[1]).any()
    assert (keys[0] != keys[3]).any()


# --- published costs ------------------------------------------------------------------------------


def test_costs_are_the_published_ones(space, tables):
    """Parameters and FLOPs (multiply-accumulates) of all 6,561 networks."""
    with gzip.open(tables / "nasbench_macro_cifar10.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    population = space.encode_all(space.parse(row["arch"]) for row in rows)
    assert len(np.unique(population, axis=0)) == space.num_architectures == len(rows)
    costs = space.layers.costs(population)
    np.testing.assert_array_equal(costs.num_params, [float(row["num_params"]) for row in rows])
    np.testing.assert_array_equal(costs.macs, [float(row["flops"]) for row in rows])


# --- the network ----------------------------------------------------------------------------------


class TestNasBenchMacroSupernet(SupernetContract):
    @pytest.fixture
    def space(self):
        return build_space("nasbench-macro-digits")

    def test_largest_covers_all(self, space, supernet):
        """A projection at the start of a stage has weights of its own."""
        covered = set()
        for block in ("id", "ir_5x5_t6"):
            everywhere = space.architecture({d.name: block for d in space.dimensions})
            covered |= set(shared_positions(supernet, everywhere).tolist())
        assert covered == set(range(sum(p.numel() for p in supernet.parameters())))


def test_one_of_two_layers_stands_at_the_start_of_a_stage():
    space = build_space("nasbench-macro-digits")
    network = space.layers.network(genome(space, "01200000"))
    read = {layer.name: layer.reads for layer in network.layers}
    assert read == {
        "stem": ("input",),
        "layer1_projection": ("stem",),
        "layer2": ("layer1_projection",),
        "layer3": ("layer2",),
        "layer6_projection": ("layer3",),
        "final": ("layer6_projection",),
        "classifier": ("final",),
    }


def test_networks_of_one_key_answer_the_same():
    """Where the one block beside two identities has the same weights at either place."""
    space = build_space("nasbench-macro-digits")
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    weights = supernet.state_dict()
    moved = {name: weights[name.replace("layer5", "layer4")] for name in weights}
    supernet.load_state_dict(moved)
    first, second = (space.parse(digits) for digits in ("00010000", "00001000"))
    keys = space.equivalence_key(space.encode_all([first, second]))
    assert (keys[0] == keys[1]).all()
    images = batch_of(supernet, first, 8, 0)
    with torch.no_grad():
        torch.testing.assert_close(
            joined(supernet(images, first)), joined(supernet(images, second))
        )

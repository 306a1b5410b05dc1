import csv
import gzip

import numpy as np
import pytest

from search_spaces import TABLE_SPACES, InputError, build_space
from search_spaces.nasbench201 import (
    EDGES,
    NUM_CELLS,
    OPERATIONS,
    cell_connected,
    cell_macs,
    cell_text,
)
from tests.contracts.space_contract import SpaceContract


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


@pytest.fixture(scope="module")
def all_cells():
    return np.stack(np.unravel_index(np.arange(NUM_CELLS), [5] * 6), axis=1).astype(np.int16)


@pytest.fixture(scope="module")
def published(tables, space):
    """The table's cells in its order, their text and their class."""
    with gzip.open(tables / "nasbench201_cifar10.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    text = [row["arch"] for row in rows]
    classes = [int(row["isomorphism_class"]) for row in rows]
    return space.encode_all(space.parse(cell) for cell in text), text, classes


class TestNasBench201(SpaceContract):
    @pytest.fixture
    def space(self, space):
        return space

    def text(self, space, architecture):
        return cell_text(architecture)


class TestNasBench201AsJson(SpaceContract):
    @pytest.fixture
    def space(self, space):
        return space


def cell(space, text):
    return space.encode(space.parse(text))


def slow_outputs(genome, weights):
    """What a cell answers to three numbers: the oracle for equal networks.

    Every operation is a fixed nonlinear map that sends 0 to 0; the same wherever it stands.
    """
    nodes = [np.array([0.3, -0.7, 1.1])]
    for node in (1, 2, 3):
        total = np.zeros(3)
        for option, (source, target) in zip(genome, EDGES, strict=True):
            if target == node and option == 1:
                total = total + nodes[source]
            elif target == node and option > 1:
                total = total + np.tanh(weights[option] @ nodes[source])
        nodes.append(total)
    return nodes[3]


def published_class(genome):
    """The rule of NAS-Bench-201's `CellStructure.to_unique_str(consider_zero=True)`."""
    nodes = ["0"]
    operations = [OPERATIONS[option] for option in genome]
    for node in (1, 2, 3):
        terms = []
        for operation, (source, target) in zip(operations, EDGES, strict=True):
            if target != node:
                continue
            if operation == "none" or nodes[source] == "#":
                terms.append("#")
            elif operation == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def num_classes(*labels):
    return len(set(zip(*labels, strict=True)))


# --- text -----------------------------------------------------------------------------------------


def test_operations_stand_where_the_text_says(space):
    text = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    assert dict(space.parse(text).values) == {
        "node1~0": "nor_conv_3x3",
        "node2~0": "nor_conv_1x1",
        "node2~1": "avg_pool_3x3",
        "node3~0": "skip_connect",
        "node3~1": "none",
        "node3~2": "nor_conv_3x3",
    }


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|+|none~0|none~1|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|none~1|none~2|none~3|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|none~0||none~0|none~1||none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2| and more",
        "|conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
)
def test_other_text_is_refused(space, text):
    with pytest.raises(InputError):
        space.parse(text)


def test_all_published_cells_are_read_and_written(space, published, all_cells):
    population, text, _ = published
    assert [cell_text(space.decode(genome)) for genome in population] == text
    assert len(np.unique(population, axis=0)) == len(all_cells) == space.num_architectures


# --- equal networks -------------------------------------------------------------------------------


def test_cells_have_one_key_where_they_compute_the_same(space, all_cells):
    weights = np.random.default_rng(0).normal(0, 1, (5, 3, 3))
    outputs = [tuple(np.round(slow_outputs(genome, weights), 9)) for genome in all_cells]
    keys = space.equivalence_key(all_cells)[:, 0].tolist()
    assert num_classes(outputs) == num_classes(keys) == num_classes(outputs, keys) == 4930


def test_published_classes_lie_within_keys(space, published):
    """The table's classes are those of the published rule, exactly; keys join some of them."""
    population, _, classes = published
    keys = space.equivalence_key(population)[:, 0].tolist()
    rule = [published_class(genome) for genome in population]
    assert num_classes(rule) == num_classes(classes) == num_classes(rule, classes) == 6466
    assert num_classes(keys, classes) == 6466  # no class in two keys
    assert num_classes(keys) == 4930


def test_classes_of_one_key_are_as_alike_as_members_of_one_class(space, published, tables):
    """The keys go beyond the published rule; the published accuracies say that they may."""
    population, _, classes = published
    with gzip.open(tables / "nasbench201_cifar10.csv.gz", "rt") as file:
        accuracy = np.array([float(row["cifar10_test_acc_200ep"]) for row in csv.DictReader(file)])
    keep = cell_connected(population)
    keys, groups = space.equivalence_key(population)[keep, 0], np.array(classes)[keep]
    accuracy = accuracy[keep]
    within = [accuracy[groups == group].std(ddof=1) for group in np.unique(groups)[:600]
              if (groups == group).sum() > 1]  # fmt: skip
    _, first = np.unique(groups, return_index=True)
    between = []
    for key in np.unique(keys):
        members = first[keys[first] == key]
        if len(members) > 1:
            between.append(accuracy[members].std(ddof=1))
    assert len(between) > 400
    assert np.median(between) < 1.5 * np.median(within)
    assert np.median(between) < 0.05 * accuracy.std()


def test_unique_keeps_one_cell_of_a_network(space, all_cells):
    assert len(space.unique(all_cells)) == 4930
    first = cell(space, "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")
    second = cell(space, "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|")
    assert len(space.unique(np.concatenate([first, second]))) == 1
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 2


# --- costs and connection -------------------------------------------------------------------------


def test_macs_of_the_published_network(space):
    """220.12 M for 3x3 convolutions everywhere, 7.78 M for none, as NAS-Bench-201 states."""
    assert cell_macs(space.largest())[0] == pytest.approx(220.12e6, rel=1e-4)
    assert cell_macs(space.smallest())[0] == pytest.approx(7.783e6, rel=1e-3)
    one = cell(space, "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert cell_macs(one)[0] - cell_macs(space.smallest())[0] == 15 * 16 * 16 * 1024


def test_connected_where_the_input_changes_the_output(space, all_cells):
    weights = np.random.default_rng(0).normal(0, 1, (5, 3, 3))
    reaches = np.array([slow_outputs(genome, weights).any() for genome in all_cells[::7]])
    np.testing.assert_array_equal(cell_connected(all_cells[::7]), reaches)
    assert 0 < (~cell_connected(all_cells)).sum() < 500


# --- catalogue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE_SPACES)
def test_table_spaces_are_built_by_name_and_versioned(name):
    space = build_space(name)
    assert space.name.split("@")[0] == name
    assert not space.slots


def test_table_spaces_take_no_settings():
    with pytest.raises(InputError, match="takes no num_classes"):
        build_space("nasbench201", num_classes=7)


def test_names_of_both_catalogues_are_suggested():
    with pytest.raises(InputError, match="did you mean 'nasbench201'"):
        build_space("nasbench101")

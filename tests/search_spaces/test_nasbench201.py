import csv
import gzip

import numpy as np
import pytest
import torch

from search_spaces import InputError, build_space
from search_spaces.nasbench201 import (
    EDGES,
    NUM_CELLS,
    OPERATIONS,
    NasBench201,
    cell_connected,
    cell_macs,
    cell_text,
    nasbench201_space,
)
from search_spaces.supernet import Supernet
from tests.contracts.family_check import check_subnets
from tests.contracts.supernet_contract import SupernetContract, shared_positions


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
            operation = OPERATIONS[option]
            if target == node and operation == "skip_connect":
                total = total + nodes[source]
            elif target == node and operation != "none":
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


def test_cells_are_read_as_they_are_written(space):
    for genome in space.sample(20, np.random.default_rng(0)):
        architecture = space.decode(genome)
        assert space.parse(cell_text(architecture)) == architecture


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


# --- the network ----------------------------------------------------------------------------------


class TestNasBench201Supernet(SupernetContract):
    """On cells whose input reaches their output: others give the same whatever comes in."""

    @pytest.fixture
    def space(self):
        return build_space("nasbench201-digits")

    @pytest.fixture
    def population(self, space):
        skips = cell(
            space, "|skip_connect~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"
        )
        random = space.sample(40, np.random.default_rng(0))
        return np.concatenate([skips, space.largest(), random[cell_connected(random)][:4]])

    def test_largest_covers_all(self, space, supernet):
        """Each operation has weights of its own: the two convolutions together cover all."""
        covered = set()
        for operation in ("nor_conv_1x1", "nor_conv_3x3"):
            everywhere = space.architecture({d.name: operation for d in space.dimensions})
            covered |= set(shared_positions(supernet, everywhere).tolist())
        assert covered == set(range(sum(p.numel() for p in supernet.parameters())))


@pytest.mark.parametrize(
    ("text", "num_params", "macs"),
    [
        (  # 113.95137 M with the bias of the classifier, 0.802426 M
            "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            802_426,
            113_951_360,
        ),
        (  # 15.64737 M with the bias
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
            "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            129_306,
            15_647_360,
        ),
    ],
)
def test_published_costs(space, text, num_params, macs):
    """arXiv:2001.00326, from the benchmark's own answers; it counts the classifier's bias too."""
    costs = space.layers.costs(cell(space, text)).row(0)
    assert (costs["num_params"], costs["macs"]) == (num_params, macs)


def test_layers_cost_what_the_published_formula_says(space, all_cells):
    np.testing.assert_array_equal(space.layers.costs(all_cells).macs, cell_macs(all_cells))


@pytest.mark.parametrize(
    ("num_classes", "num_params", "macs"),
    [(10, 1_288_506, 184_730_240), (100, 1_294_356, 184_736_000)],
)
def test_other_classes(num_classes, num_params, macs):
    """The best cell of CIFAR-100, which is the topology of the size space too."""
    space = build_space("nasbench201", num_classes=num_classes)
    best = (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
        "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    costs = space.layers.costs(cell(space, best)).row(0)
    assert (costs["num_params"], costs["macs"]) == (num_params, macs)


def test_edges_read_the_nodes_they_name():
    space = build_space("nasbench201-digits")
    text = "|nor_conv_1x1~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|skip_connect~1|nor_conv_3x3~2|"
    layers = {layer.name: layer for layer in space.layers.network(cell(space, text)).layers}
    found = {
        name.removeprefix("stage2_cell1_"): (layer.reads, layer.spec.values.get("operation"))
        for name, layer in layers.items()
        if name.startswith("stage2_")
    }
    first = "stage2_cell1_node1_from0"
    assert found == {
        "node1_from0": (("reduction1",), "nor_conv_1x1"),
        "node2_from1": ((first,), "avg_pool_3x3"),
        "node2": (("reduction1", "stage2_cell1_node2_from1"), None),
        "node3_from0": (("reduction1",), "none"),
        "node3_from2": (("stage2_cell1_node2",), "nor_conv_3x3"),
        "node3": (
            ("stage2_cell1_node3_from0", first, "stage2_cell1_node3_from2"),
            None,
        ),
    }
    assert layers["reduction2"].reads == ("stage2_cell1_node3",)


def test_cells_of_one_key_answer_the_same():
    """Dead ends and skips do not count, in the network as in the key."""
    space = build_space("nasbench201-digits")
    supernet = Supernet(space)
    one, other = (
        space.parse(text)
        for text in (
            "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
            "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
        )
    )
    keys = space.equivalence_key(space.encode_all([one, other]))
    assert keys[0] == keys[1]
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(supernet(images, one), supernet(images, other))


def test_the_smallest_cell_passes_its_input_on():
    space = build_space("nasbench201-digits")
    assert cell_connected(space.smallest()).all()
    assert (
        cell_macs(space.smallest()) == cell_macs(space.sample(500, np.random.default_rng(0))).min()
    )


def test_cells_without_a_way_through_answer_all_the_same():
    space = build_space("nasbench201-digits")
    nothing = cell(space, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    subnet = Supernet(space).extract(space.decode(nothing[0])).train()
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = subnet(images)
    outputs.square().sum().backward()
    assert outputs.isfinite().all()
    torch.testing.assert_close(outputs, outputs[:1].expand_as(outputs))
    assert all(p.grad is None or p.grad.isfinite().all() for p in subnet.parameters())


@pytest.mark.slow
def test_fifty_random_cells():
    space = build_space("nasbench201-digits")
    check_subnets(space, space.sample_distinct(50, np.random.default_rng(1)))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"num_classes": 0}, {"input_channels": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match="at least one class, channel and cell"):
        build_space("nasbench201", **settings)


@pytest.mark.parametrize("numbers", [(30, 8, 1), (0, 8, 1), (8, 0, 1), (8, 8, 0)])
def test_bad_presets_are_refused(numbers):
    with pytest.raises(InputError, match=r"a resolution of 4, 8, 12"):
        nasbench201_space(NasBench201("bad", *numbers), 10, 3)


def test_other_names_are_suggested():
    with pytest.raises(InputError, match="did you mean 'nasbench201'"):
        build_space("nasbench101")

import itertools
from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch

from search_spaces import InputError, build_space
from search_spaces.layer_modules import layer_module
from search_spaces.nasnet import DIGITS, OPERATIONS, genotype_text, nasnet_space
from search_spaces.supernet import Supernet, assemble
from tests.contracts.family_check import check_subnets
from tests.contracts.supernet_contract import SupernetContract, shared_positions
from tests.contracts.traced_costs import traced_costs

DARTS_V2 = (
    "DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('skip_connect', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=range(2, 6))"
)


@pytest.fixture(scope="module")
def digits():
    return build_space("nasnet-digits")


@pytest.fixture(scope="module")
def darts():
    return build_space("nasnet-darts")


class TestNasNetSupernet(SupernetContract):
    least_share_with_gradient = 0.3  # cells read no input that no node of theirs chooses

    @pytest.fixture
    def space(self, digits):
        return digits

    def test_largest_covers_all(self, space, supernet, architectures):
        """Each operation has weights of its own, so all options together cover the supernet: here
        architectures of one operation and one source everywhere, and every number is taken.
        """
        covered = set()
        for source, operation in itertools.product((0, 1), DIGITS.operations):
            values = {
                d.name: operation if isinstance(d.options[0], str) else source
                for d in space.dimensions
            }
            covered |= set(shared_positions(supernet, space.architecture(values)).tolist())
        assert covered == set(range(sum(p.numel() for p in supernet.parameters())))


def uniform(space, normal, reduce):
    """One operation and the first source everywhere in each cell."""
    operations = {"normal": normal, "reduce": reduce}
    return space.architecture(
        {
            d.name: operations[d.name.split(".")[0]] if isinstance(d.options[0], str) else 0
            for d in space.dimensions
        }
    )


# --- the published networks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "num_params", "macs"),
    [(DARTS_V2, 3_349_342, 528_359_040), (DARTS_V1, 3_169_414, None)],
    ids=["DARTS_V2", "DARTS_V1"],
)
def test_published_cells_cost_what_is_published(darts, text, num_params, macs):
    """arXiv:1806.09055 and its logs: 3.349342 M parameters for the second order cells (without the
    auxiliary head), 3.2 M for the first order ones; 528 M multiply-adds.
    """
    costs = darts.layers.costs(darts.encode(darts.parse(text)))
    assert costs.num_params[0] == num_params
    assert macs is None or costs.macs[0] == macs


def test_costs_of_the_published_network_are_those_of_its_modules(darts):
    genome = darts.encode(darts.parse(DARTS_V2))
    network = darts.layers.network(genome)
    with torch.device("meta"):  # sizes alone
        modules = {layer.name: layer_module(layer.spec) for layer in network.layers}
        images = torch.zeros(1, 3, 32, 32)
    module = assemble(network, modules).eval()
    assert darts.layers.costs(genome).row(0) == traced_costs(module, images)


def test_published_text_is_read_and_written(darts):
    for text in (DARTS_V1, DARTS_V2):
        architecture = darts.parse(text)
        assert darts.parse(genotype_text(architecture)) == architecture
    assert genotype_text(darts.parse(DARTS_V2)) == DARTS_V2.removeprefix("DARTS_V2 = ")
    values = darts.parse(DARTS_V1).values
    assert (values["normal.node1.source1"], values["normal.node1.source2"]) == (1, 0)
    assert (values["reduce.node4.operation2"], values["reduce.node4.source2"]) == (
        "avg_pool_3x3",
        0,
    )


def test_random_cells_are_read_and_written(digits):
    for genome in digits.sample(20, np.random.default_rng(0)):
        architecture = digits.decode(genome)
        assert digits.parse(genotype_text(architecture)) == architecture


def test_the_skeleton_is_the_published_one(darts):
    """20 cells, reductions at the 7th and the 14th, 36 channels doubled there, stem of 108."""
    network = darts.layers.network(darts.encode(darts.parse(DARTS_V2)))
    layers = {layer.name: layer for layer in network.layers}
    assert layers["stem"].spec["out_channels"] == 108
    joined = [layers[f"cell{i}"].spec for i in range(1, 21)]
    assert [spec["channels"] for spec in joined] == [36] * 6 + [72] * 7 + [144] * 7
    assert [spec["height"] for spec in joined] == [32] * 6 + [16] * 7 + [8] * 7
    reduces = [i for i in range(1, 21) if layers[f"cell{i}_input1"].spec.kind != "relu_conv_norm"]
    assert reduces == [8, 15]  # what reads across a reduction halves the older of its inputs
    assert layers["classifier"].spec["in_channels"] == 576
    assert layers["cell2_input1"].reads == ("stem",)
    assert layers["cell2_input2"].reads == layers["cell3_input1"].reads == ("cell1",)


def test_sizes_of_the_spaces(digits, darts):
    assert digits.num_architectures == ((2 * 3) ** 2 * 4**4) ** 2
    assert darts.num_architectures == (prod(range(2, 6)) ** 2 * 7**8) ** 2 == 14400**2 * 7**16
    # arXiv:1806.09055: about 10^9 cells of two different sources a node
    assert prod(k * (k + 1) // 2 * 7**2 for k in range(1, 5)) == pytest.approx(1e9, rel=0.05)


# --- layers ---------------------------------------------------------------------------------------


def expected_layers(preset, values):
    """(name, kind, reads, channels, height, stride) of one architecture, cell by cell, node by
    node; a skip of stride 1 is followed to what it reads.
    """
    layers = [("stem", "conv_norm", ("input",), 1, preset.resolution, 1)]
    outputs = [("stem", 3 * preset.channels, preset.resolution)] * 2
    channels = preset.channels
    for number in range(preset.num_cells):
        reduces = number in (preset.num_cells // 3, 2 * preset.num_cells // 3)
        channels *= 2 if reduces else 1
        cell, name = "reduce" if reduces else "normal", f"cell{number + 1}"
        side = outputs[-1][2]
        states = []
        for i, (source, width, source_side) in enumerate(outputs[-2:], start=1):
            kind = "factorized_reduce" if source_side > side else "relu_conv_norm"
            layers.append((f"{name}_input{i}", kind, (source,), width, source_side, 1))
            states.append(f"{name}_input{i}")
        small = side // 2 if reduces else side
        for node in range(1, preset.num_nodes + 1):
            ends = []
            for s in (1, 2):
                source = values[f"{cell}.node{node}.source{s}"]
                operation = values[f"{cell}.node{node}.operation{s}"]
                stride = 2 if reduces and source < 2 else 1
                if operation == "skip_connect" and stride == 1:
                    ends.append(states[source])
                    continue
                ends.append(f"{name}_node{node}_side{s}")
                height = side if source < 2 else small
                layers.append((ends[-1], operation, (states[source],), channels, height, stride))
            layers.append((f"{name}_node{node}", "sum", tuple(ends), channels, small, 1))
            states.append(f"{name}_node{node}")
        layers.append((name, "concat", tuple(states[2:]), channels, small, 1))
        outputs.append((name, preset.num_nodes * channels, small))
    last, width, side = outputs[-1]
    return [*layers, ("classifier", "classifier", (last,), width, side, 1)]


def test_layers_equal_a_walk_over_the_cells(digits):
    for genome in digits.sample(200, np.random.default_rng(0)):
        architecture = digits.decode(genome)
        found = [
            (
                layer.name,
                layer.spec.values.get("operation", layer.spec.kind),
                layer.reads,
                layer.spec.values.get("channels") or layer.spec["in_channels"],
                layer.spec["height"],
                layer.spec.values.get("stride", 1),
            )
            for layer in digits.layers.network(genome).layers
        ]
        assert found == expected_layers(DIGITS, architecture.values)


def test_every_operation_but_skips_may_be_dropped(digits):
    network = digits.layers.network(digits.encode(uniform(digits, "sep_conv_3x3", "skip_connect")))
    dropped = [layer.name for layer in network.layers if layer.droppable]
    # skips that halve the image are layers, as in the published code
    assert dropped == [
        f"cell{c}_node{n}_side{s}" for c in (1, 2, 3) for n in (1, 2) for s in (1, 2)
    ]
    network = digits.layers.network(digits.encode(uniform(digits, "skip_connect", "max_pool_3x3")))
    assert not any(layer.name.startswith("cell1_") for layer in network.layers if layer.droppable)


def test_weights_do_not_depend_on_the_source(digits):
    supernet = Supernet(digits)
    first = uniform(digits, "sep_conv_3x3", "sep_conv_3x3")
    second = digits.architecture(
        dict(first.values) | {"normal.node2.source2": 2, "reduce.node2.source1": 1}
    )
    taken = [shared_positions(supernet, one).sort().values for one in (first, second)]
    assert torch.equal(*taken)
    third = digits.architecture(dict(first.values) | {"normal.node2.operation2": "dil_conv_3x3"})
    assert not torch.equal(taken[0], shared_positions(supernet, third).sort().values)


@pytest.mark.parametrize("cell", ["normal", "reduce"])
def test_options_ascend_by_cost(darts, cell):
    (operations,) = {d.options for d in darts.dimensions if d.name.startswith(f"{cell}.node1.op")}
    assert sorted(operations) == sorted(OPERATIONS)
    choices = {"normal": "max_pool_3x3", "reduce": "max_pool_3x3"}
    chosen = [uniform(darts, **choices | {cell: operation}) for operation in operations]
    macs = darts.layers.costs(darts.encode_all(chosen)).macs
    assert (np.diff(macs) >= 0).all()
    assert macs[-1] > macs[0]


@pytest.mark.slow
def test_fifty_random_architectures(digits):
    check_subnets(digits, digits.sample_distinct(50, np.random.default_rng(1)))


# --- equal networks -------------------------------------------------------------------------------


def test_swapped_sides_are_one_network(digits):
    population = digits.sample(300, np.random.default_rng(0))
    swapped = population.reshape(-1, 4, 2, 2)[:, :, ::-1].reshape(population.shape)
    np.testing.assert_array_equal(
        digits.equivalence_key(population), digits.equivalence_key(swapped)
    )
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    genome = population[0]
    for node in range(4):  # one side's weights are not the other's, so both get the same
        for side in (0, 1):
            genome[4 * node + 2 * side + 1] = 1 if node < 2 else 0  # max_pool in both cells
    supernet = Supernet(digits)
    with torch.no_grad():
        other = genome.reshape(4, 2, 2)[:, ::-1].reshape(-1)
        first, second = (supernet(images, digits.decode(one)) for one in (genome, other))
    torch.testing.assert_close(first, second)


def test_keys_are_as_many_as_unordered_sides():
    """Two sides of k choices each are k (k + 1) / 2 networks, node by node."""
    space = nasnet_space(replace(DIGITS, num_nodes=1), 10, 1)
    everything = np.stack(
        np.unravel_index(np.arange(space.num_architectures), space.num_options), axis=1
    ).astype(np.int16)
    assert len(space.unique(everything)) == (8 * 9 // 2) ** 2


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 0}, "at least 1 node"),
        ({"num_cells": 2}, "at least 3 cells"),
        ({"channels": 7}, "an even number of channels"),
        ({"resolution": 10}, "a resolution of 4, 8, 12"),
        ({"operations": ("skip_connect", "conv_9x9")}, "operations of skip_connect, max_pool"),
        ({"operations": ()}, "operations of"),
    ],
)
def test_bad_presets_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        nasnet_space(replace(DIGITS, **change), 10, 1)


@pytest.mark.parametrize("settings", [{"num_classes": 0}, {"input_channels": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match="num_classes and input_channels >= 1"):
        build_space("nasnet-digits", **settings)


@pytest.mark.parametrize(
    "text",
    [
        DARTS_V2.replace("max_pool_3x3", "max_pool_7x7"),
        DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"),
        DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[3, 4, 5]"),
        DARTS_V2.replace("normal_concat", "concat"),
        DARTS_V2.replace("Genotype", "print"),
        DARTS_V2.replace("[2, 3, 4, 5]", "list(range(2, 6))"),
        DARTS_V2.replace("[2, 3, 4, 5]", "range(0, 10**9)"),
        DARTS_V2.replace("[2, 3, 4, 5]", "range(0, 1000000000)"),
        DARTS_V2.replace("('skip_connect', 0), ", ""),
        DARTS_V2.replace("('skip_connect', 0)", "('skip_connect', __import__('os').getpid())"),
        DARTS_V2 + "; print(1)",
        "Genotype(" * 300,
        "-" * 100_000 + "1",
        "Genotype(normal=1, normal_concat=1, reduce=1, reduce_concat=1)",
    ],
)
def test_other_text_is_refused(darts, text):
    with pytest.raises(InputError):
        darts.parse(text)

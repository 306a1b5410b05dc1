"""Peak memory of populations of graphs, against plain Python that follows one network at a time."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from search_spaces import Dimension, LayerSlot, SearchSpace, Selected, build_space
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import layer_module
from search_spaces.supernet import assemble
from tests.contracts.traced_costs import peak_activation_bytes

CHANNELS, SIDE = 3, 4
SIZE = {"channels": CHANNELS, "height": SIDE, "width": SIDE}
OPERATIONS = ("skip_connect", "none", "max_pool_3x3", "nor_conv_1x1", "dil_conv_3x3")
LONGEST = 6  # slots of a random graph


def random_space(seed):
    """A graph of operations, sums and joins that read anything before them, some by choice, some
    empty by choice; two inputs, one or two outputs.
    """
    rng = np.random.default_rng(seed)
    inputs = ["left", "right"][: rng.integers(1, 3)]
    dimensions, slots, known = [], [], list(inputs)
    for i in range(int(rng.integers(2, LONGEST + 1))):
        name = f"slot{i}"
        kind = rng.choice(["cell_operation", "cell_operation", "sum"])
        num_reads = 1 if kind == "cell_operation" else int(rng.integers(2, 5))
        reads = []
        for r in range(num_reads):
            if rng.random() < 0.5:
                dimension = f"{name}.source{r}"
                options = sorted({str(rng.choice(known)) for _ in range(3)})
                dimensions.append(Dimension(dimension, tuple(options)))
                reads.append(Selected(dimension, {option: option for option in options}))
            else:
                reads.append(str(rng.choice(known)))
        if kind == "sum":
            fields = SIZE | {"num_inputs": num_reads}
            slots.append(LayerSlot(name, kind, (), lambda v, f=fields: f, reads=tuple(reads)))
        else:
            dimension = f"{name}.operation"
            dimensions.append(Dimension(dimension, OPERATIONS))
            slots.append(
                LayerSlot(
                    name,
                    kind,
                    (dimension,),
                    lambda v, d=dimension: SIZE | {"stride": 1, "operation": v[d]},
                    present=lambda v, d=dimension: v[d] != "skip_connect",
                    reads=tuple(reads),
                )
            )
        known.append(name)
    outputs = {"first": slots[-1].name}
    if rng.random() < 0.5:
        outputs["second"] = str(rng.choice(known[len(inputs) :]))
    return SearchSpace(
        f"random{seed}@1", dimensions, slots, inputs=inputs, outputs=outputs, modality="image"
    )


def slow_peak(network):
    """The most bytes alive at once, one layer after the other: inputs are there from the start, a
    value goes after the last layer that reads it, outputs stay.
    """
    sizes = {name: 4 * CHANNELS * SIDE**2 for name in network.inputs}
    layers = list(network.layers)
    peak = 0
    for position, layer in enumerate(layers):
        later = {name for after in layers[position + 1 :] for name in after.reads}
        later |= set(network.outputs.values())
        beside = sum(size for name, size in sizes.items() if name in later - set(layer.reads))
        peak = max(peak, beside + slow_layer_peak(layer, later, sizes))
        kind = LAYER_KINDS[layer.spec.kind]
        sizes[layer.name] = 4 * int(kind.output_elements(layer.spec.values))
        sizes = {n: s for n, s in sizes.items() if n in later}
    return peak


def slow_layer_peak(layer, later, sizes):
    """A sum adds one after the other, over its first term if nobody else wants that."""
    if layer.spec.kind != "sum":
        kept = (layer.reads[0] in later, False)
        return 4 * int(LAYER_KINDS[layer.spec.kind].peak_elements(layer.spec.values, kept))
    size = sizes[layer.reads[0]]
    alive = set(layer.reads)
    free = layer.reads[0] not in later | set(layer.reads[2:])
    return size * (len(alive) + (not free))


def test_random_graphs_equal_a_slow_walk():
    for seed in range(120):
        space = random_space(seed)
        population = space.sample(20, np.random.default_rng(seed))
        found = space.layers.costs(population).activation_bytes
        networks = [space.layers.network(genome) for genome in population]
        expected = [slow_peak(network) for network in networks]
        assert found.tolist() == expected, space.name


def test_random_graphs_equal_the_traced_network():
    for seed in range(40):
        space = random_space(seed)
        population = space.sample(3, np.random.default_rng(seed))
        costs = space.layers.costs(population)
        for genome, found in zip(population, costs.activation_bytes, strict=True):
            network = space.layers.network(genome)
            if not network.layers:  # all skips: nothing runs
                continue
            module = assemble(network, {x.name: layer_module(x.spec) for x in network.layers})
            inputs = [torch.zeros(1, *spec.shape) for spec in network.inputs.values()]
            assert found == peak_activation_bytes(module.eval(), *inputs), (seed, genome)


def of_sums(*reads):
    """A space without choice: sums of one image and of one another."""
    slots = []
    for i, names in enumerate(reads):
        fields = SIZE | {"num_inputs": len(names)}
        slots.append(LayerSlot(f"slot{i}", "sum", (), lambda v, f=fields: f, reads=names))
    return SearchSpace("sums@1", [Dimension("constant", (1,))], slots)


@pytest.mark.parametrize(
    ("reads", "images"),
    [
        ([("input", "input")], 1),  # written over the input
        ([("input", "input"), ("slot0", "input")], 2),
        ([("input", "input"), ("slot0", "input", "slot0")], 3),  # the second sum needs a third
        ([("input", "input"), ("slot0", "slot0", "input")], 2),
        ([("input", "input", "input")], 2),
        ([("input", "input"), ("input", "slot0"), ("slot1", "slot0")], 2),
        ([("input", "input"), ("input", "slot0"), ("slot1", "slot0", "input")], 3),
    ],
)
def test_sums_counted_by_hand(reads, images):
    space = of_sums(*reads)
    expected = 4 * CHANNELS * SIDE**2 * images
    assert space.layers.costs(space.smallest()).activation_bytes[0] == expected


def test_populations_are_worked_on_row_by_row():
    """A row's memory does not depend on the others."""
    space = build_space("nasnet-digits")
    population = space.sample(60, np.random.default_rng(0))
    together = space.layers.costs(population).activation_bytes
    alone = [space.layers.costs(row[None]).activation_bytes[0] for row in population]
    assert together.tolist() == alone
    assert len(set(alone)) > 1
    cuts = [space.layers.costs(population[a:b]).activation_bytes for a, b in pairwise((0, 7, 60))]
    np.testing.assert_array_equal(np.concatenate(cuts), together)
    assert space.layers.costs(population[:0]).activation_bytes.shape == (0,)

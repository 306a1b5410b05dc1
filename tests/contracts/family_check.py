"""What holds for any architecture of a family, checked on many: supernet, subnet, file and costs
say the same; and whether the family learns.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hardware_profiles.onnx_graph import onnx_model
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet, Tensors
from tests.contracts.onnx_parity import assert_equal_outputs, with_statistics
from tests.contracts.supernet_contract import BATCH, batch_of, joined, randomise
from tests.contracts.traced_costs import traced_costs

TOLERANCE = 1e-6  # of the greatest output
NUM_STEPS, LEARNING_RATE = 40, 3e-3


def check_subnets(space: SearchSpace, population: np.ndarray) -> None:
    """Check every architecture of a population on a supernet of random weights."""
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    costs = space.layers.costs(population)
    for i, genome in enumerate(population):
        architecture = space.decode(genome)
        draw = partial(batch_of, supernet, architecture)
        inputs = draw(BATCH, i)
        subnet = supernet.extract(architecture).train()  # norms use the batch, as the supernet's
        with torch.no_grad():
            expected, found = joined(supernet(inputs, architecture)), joined(subnet(*inputs))
        greatest = expected.abs().max()
        assert greatest > 0
        assert (found - expected).abs().max() <= TOLERANCE * greatest, architecture
        with_statistics(subnet, draw)
        assert costs.row(i) == traced_costs(subnet, *draw(1, i)), architecture
        model = onnx_model(subnet, supernet.inputs(architecture), outputs=space.outputs)
        # some cells of a family of cells let nothing through
        assert_equal_outputs(model, subnet, [draw(1, i), draw(3, i)], least_spread=0)


def losses_in_training(space: SearchSpace, inputs: Tensors, labels: Tensor) -> list[float]:
    """Train the largest architecture on one batch; return the loss of every step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(space)
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=LEARNING_RATE)
    largest = space.decode(space.largest()[0])
    losses = []
    for _ in range(NUM_STEPS):
        loss = functional.cross_entropy(joined(supernet(inputs, largest)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

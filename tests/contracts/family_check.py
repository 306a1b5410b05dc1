"""A family against three oracles at once, over many architectures: the supernet, what torch counts
on an extracted subnet, and ONNX Runtime; and whether it learns.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet, Tensors
from tests.contracts.supernet_contract import batch_of, joined, randomise
from tests.contracts.traced_costs import counted_macs, counted_params, peak_activation_bytes

EXTRACTED_TOLERANCE = 1e-6  # of the greatest output
ONNX_TOLERANCE = 1e-4
BATCH_SIZES = (1, 3)
NUM_STEPS, LEARNING_RATE = 40, 3e-3


def check_architectures(space: SearchSpace, n: int, seed: int) -> None:
    """Check `n` different random architectures on one supernet of random weights."""
    supernet = Supernet(space)
    randomise(supernet, seed)
    population = space.sample_distinct(n, np.random.default_rng(seed))
    assert len(population) == min(n, space.num_architectures)
    costs = space.layers.costs(population)
    for i, genome in enumerate(population):
        architecture = space.decode(genome)
        subnet = supernet.extract(architecture).eval()
        specs = supernet.inputs(architecture)
        file = onnx_model(subnet, specs, outputs=space.outputs)
        session = onnx_session(file.SerializeToString())
        for batch in BATCH_SIZES:
            inputs = batch_of(supernet, architecture, batch, seed=i)
            with torch.no_grad():
                outputs = joined(subnet(*inputs))
                shared = joined(supernet(inputs, architecture))
            greatest = outputs.abs().max()
            assert greatest > 0
            assert (shared - outputs).abs().max() <= EXTRACTED_TOLERANCE * greatest
            feeds = {name: t.numpy() for name, t in zip(specs, inputs, strict=True)}
            found = joined(tuple(map(torch.from_numpy, session.run(None, feeds))))
            assert (found - outputs).abs().max() <= ONNX_TOLERANCE * greatest
        one = batch_of(supernet, architecture, batch=1, seed=i)
        assert costs.row(i) == {
            "macs": counted_macs(subnet, *one),
            "num_params": counted_params(subnet),
            "activation_bytes": peak_activation_bytes(subnet, *one),
        }


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

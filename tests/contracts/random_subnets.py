"""What holds for any architecture of a family, checked on many: supernet, subnet, file and costs
say the same.
"""

import copy

import numpy as np
import torch

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import SearchSpace
from search_spaces.layer_modules.batch_norm import BatchNorm
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of, joined, randomise
from tests.contracts.traced_costs import counted_macs, counted_params, peak_activation_bytes

OF_THE_SUPERNET = 1e-6  # relative to the largest output
OF_TORCH = 1e-4


def check_subnets(space: SearchSpace, population: np.ndarray, batch: int = 4) -> None:
    """Check every architecture of a population on a supernet of random weights."""
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    costs = space.layers.costs(population)
    for i, genome in enumerate(population):
        architecture = space.decode(genome)
        inputs = batch_of(supernet, architecture, batch, seed=i)
        subnet = supernet.extract(architecture).train()
        for norm in subnet.modules():
            if isinstance(norm, BatchNorm):
                norm.momentum = None  # the statistics of the one batch that follows
        with torch.no_grad():
            expected, found = joined(supernet(inputs, architecture)), joined(subnet(*inputs))
        assert (found - expected).abs().max() <= OF_THE_SUPERNET * expected.abs().max()
        subnet.eval()
        one = tuple(tensor[:1] for tensor in inputs)
        assert costs.row(i) == {
            "macs": counted_macs(subnet, *one),
            "num_params": counted_params(subnet),
            "activation_bytes": peak_activation_bytes(copy.deepcopy(subnet), *one),
        }, architecture
        model = onnx_model(subnet, supernet.inputs(architecture), outputs=space.outputs)
        session = onnx_session(model.SerializeToString())
        for given in (one, inputs):
            with torch.no_grad():
                expected = joined(subnet(*given)).numpy()
            feeds = {n: t.numpy() for n, t in zip(space.inputs, given, strict=True)}
            answers = session.run(list(space.outputs), feeds)
            found = np.concatenate([answer.reshape(len(answer), -1) for answer in answers], axis=1)
            assert np.abs(found - expected).max() <= OF_TORCH * np.abs(expected).max()

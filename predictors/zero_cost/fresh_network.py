"""Networks as they are before any training."""

import torch
from torch import fx

from search_spaces import Architecture, SearchSpace
from search_spaces.layer_modules import layer_module
from search_spaces.layer_modules.initial import initialise
from search_spaces.supernet import assemble


def fresh_network(space: SearchSpace, architecture: Architecture, seed: int) -> fx.GraphModule:
    """Return a subnet with first weights of a seed, whatever a supernet has learned.

    Convolutions are drawn by fan-out (arXiv:1502.01852), linear layers with variance 1 / inputs;
    norms and biases do nothing. The global generator stays as it was.
    """
    network = space.layers.network(space.encode(architecture))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        modules = {layer.name: layer_module(layer.spec) for layer in network.layers}
        for module in modules.values():
            for owner in module.modules():
                for name, parameter in owner.named_parameters(recurse=False):
                    with torch.no_grad():
                        initialise(owner, name, parameter)
    return assemble(network, modules)

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec
from search_spaces.layer_modules.batch_norm import BatchNorm

TOLERANCE = 1e-4  # of the greatest output
Inputs = Callable[[int, int], tuple[torch.Tensor, ...]]  # (batch, seed) -> inputs


def with_statistics(network: nn.Module, inputs: Inputs) -> nn.Module:
    """Put norms into eval mode with statistics that lie about those of a batch and all differ."""
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over batches
        network.train()(*inputs(16, 2))
        for norm in norms:
            shift = torch.randn(norm.num_features, generator=generator)
            norm.running_mean += 0.3 * norm.running_var.sqrt() * shift
            norm.running_var *= 0.5 + torch.rand(norm.num_features, generator=generator)
    return network.eval()


def assert_same_in_onnx(
    network: nn.Module, specs: Mapping[str, TensorSpec], outputs: Sequence[str], inputs: Inputs
) -> Any:
    """Emit a network and compare what ONNX Runtime answers; return the model.

    Args:
        network: in eval mode.
        specs: of its inputs.
        outputs: their names.
        inputs: draws some.
    """
    model = onnx_model(network, specs, outputs=outputs)
    onnx.checker.check_model(model, full_check=True)
    assert_equal_outputs(model, network, list(specs), outputs, [inputs(1, 3), inputs(5, 4)])
    return model


def assert_equal_outputs(
    model: Any,
    network: nn.Module,
    names: Sequence[str],
    outputs: Sequence[str],
    batches: Sequence[tuple[torch.Tensor, ...]],
) -> None:
    """Compare what a model and the network it was made of answer to batches of inputs."""
    session = onnx_session(model.SerializeToString())
    for given in batches:
        with torch.no_grad():
            results = network(*[tensor.clone() for tensor in given])
        several = results if isinstance(results, tuple) else (results,)
        feeds = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        for expected, found in zip(several, session.run(list(outputs), feeds), strict=True):
            assert found.shape == tuple(expected.shape)
            scale = float(expected.abs().max())
            assert scale > 0
            assert np.abs(found - expected.numpy()).max() <= TOLERANCE * scale

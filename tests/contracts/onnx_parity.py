"""Emitted ONNX graphs, run by ONNX Runtime, against the torch networks they were made of."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import nn

from hardware_profiles.onnx_graph import emitted_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec
from search_spaces.layer_modules.batch_norm import BatchNorm
from tests.contracts.inputs import random_inputs

TOLERANCE = 1e-4  # of the greatest output
LEAST_SPREAD = 0.02  # likewise: outputs that ignore the inputs would agree whatever is between
Inputs = Callable[[int, int], tuple[torch.Tensor, ...]]  # (batch, seed) -> inputs


def with_statistics(network: nn.Module, draw: Inputs) -> nn.Module:
    """Put a network into eval mode with norm statistics that lie about those of a batch and all
    differ: with any others the signal dies on its way.
    """
    generator = torch.Generator().manual_seed(1)
    norms = [
        module
        for module in network.modules()
        if isinstance(module, BatchNorm) and module.track_running_stats
    ]
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over batches
        network.train()(*draw(16, 2))
        for norm in norms:
            shift = torch.randn(norm.num_features, generator=generator)
            norm.running_mean += 0.3 * norm.running_var.sqrt() * shift
            norm.running_var *= 0.5 + torch.rand(norm.num_features, generator=generator)
    return network.eval()


def assert_same_in_onnx(
    network: nn.Module,
    specs: Mapping[str, TensorSpec],
    draw: Inputs,
    outputs: Sequence[str] = ("logits",),
) -> onnx.ModelProto:
    """Emit a network, check the file and compare what ONNX Runtime answers; return the model.

    Args:
        network: compared in eval mode, left in its own.
        specs: of its inputs.
        draw: draws some.
        outputs: their names.
    """
    model = emitted_model(network, specs, outputs)
    onnx.checker.check_model(model, full_check=True)
    assert_equal_outputs(model, network, [draw(1, 3), draw(5, 4)])
    return model


def assert_emitted(module: nn.Module, *shapes: tuple[int, ...]) -> onnx.ModelProto:
    """Emit a module of float inputs, compare its answers at batches of 1 and 3; return the model.

    Args:
        shapes: of its inputs, without the batch.
    """
    module.eval()
    specs = {f"input{i}": TensorSpec(shape) for i, shape in enumerate(shapes)}
    model = emitted_model(module, specs)
    onnx.checker.check_model(model, full_check=True)
    batches = [random_inputs(specs, batch, seed=batch) for batch in (1, 3)]
    assert_equal_outputs(model, module, [tuple(2 * one for one in batch) for batch in batches])
    return model


def assert_equal_outputs(
    model: onnx.ModelProto,
    network: nn.Module,
    batches: Sequence[tuple[torch.Tensor, ...]],
    least_spread: float = LEAST_SPREAD,
) -> None:
    """Compare what a model and the network it was made of answer to batches of inputs, and check
    that the answers to the samples of a batch differ.
    """
    session = onnx_session(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    was_training = network.training
    network.eval()
    for given in batches:
        with torch.no_grad():
            results = network(*[tensor.clone() for tensor in given])
        several = results if isinstance(results, tuple) else (results,)
        feeds = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        for result, found in zip(several, session.run(None, feeds), strict=True):
            expected = result.numpy()
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            greatest = np.abs(expected).max()
            assert greatest > 0
            assert np.abs(found - expected).max() <= TOLERANCE * greatest
            if len(expected) > 1:
                assert np.ptp(expected, axis=0).max() >= least_spread * greatest
    network.train(was_training)


def operations(model: onnx.ModelProto) -> list[str]:
    """Names of the operations in order, the naming of outputs left out."""
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]

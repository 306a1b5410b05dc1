"""Emitted ONNX graphs, run by ONNX Runtime, against the torch modules they were made of."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec
from search_spaces.layer_modules.batch_norm import BatchNorm
from tests.contracts.supernet_contract import randomise

TOLERANCE = 1e-4  # of the greatest output
Tensors = tuple[torch.Tensor, ...]
Draw = Callable[[int, int], Tensors]  # (batch, seed) -> inputs


def with_statistics(network: nn.Module, draw: Draw) -> nn.Module:
    """Put norms into eval mode with statistics that lie about those of a batch and all differ."""
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over batches
        network.train()(*draw(16, 2))
        for norm in norms:
            shift = torch.randn(norm.num_features, generator=generator)
            norm.running_mean += 0.3 * norm.running_var.sqrt() * shift
            norm.running_var *= 0.5 + torch.rand(norm.num_features, generator=generator)
    return network.eval()


def assert_same_in_onnx(
    network: nn.Module, specs: Mapping[str, TensorSpec], outputs: Sequence[str], draw: Draw
) -> onnx.ModelProto:
    """Emit a network in eval mode, compare at several batch sizes, return the model.

    Args:
        network: not changed.
        specs: of its inputs, by name.
        outputs: their names.
        draw: gives inputs.
    """
    model = onnx_model(network, specs, outputs=outputs)
    onnx.checker.check_model(model, full_check=True)
    assert_equal_outputs(model, network, list(specs), outputs, [draw(1, 3), draw(5, 4)])
    return model


def assert_equal_outputs(
    model: onnx.ModelProto,
    network: nn.Module,
    names: Sequence[str],
    outputs: Sequence[str],
    batches: Sequence[Tensors],
) -> None:
    """Compare what a model and the network it was made of answer to batches of inputs."""
    session = onnx_session(model.SerializeToString())
    for given in batches:
        with torch.no_grad():
            results = network(*[tensor.clone() for tensor in given])
        several = results if isinstance(results, tuple) else (results,)
        feeds = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        for expected, found in zip(several, session.run(list(outputs), feeds), strict=True):
            assert_close(found, expected.numpy())


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that outputs agree, and that they differ from sample to sample."""
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(found - expected).max() <= TOLERANCE * scale
    if len(expected) > 1:
        assert (expected.max(axis=0) - expected.min(axis=0)).max() >= 0.02 * scale


def assert_images_agree(module: nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Give a module of images random weights and statistics; emit and compare it."""

    def draw(batch: int, seed: int) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        contrast = 2 * torch.rand(batch, 1, 1, 1, generator=generator)
        brightness = torch.randn(batch, 1, 1, 1, generator=generator)
        return (contrast * torch.randn(batch, *shape, generator=generator) + brightness,)

    randomise(module, seed=0)
    network = with_statistics(module, draw)
    return assert_same_in_onnx(network, {"input": TensorSpec(shape)}, ["logits"], draw)


def operations(model: onnx.ModelProto) -> list[str]:
    """Names of the operations in order, the naming of outputs left out."""
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]

"""Emitted ONNX graphs, run by ONNX Runtime, against the torch modules they were made of."""

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec

TOLERANCE = 1e-4  # of the greatest output
BATCH_SIZES = (1, 3)


def images(n: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random images of different brightness and contrast: n x c x h x w."""
    contrast = 2 * torch.rand(n, 1, 1, 1, generator=generator)
    brightness = torch.randn(n, 1, 1, 1, generator=generator)
    return contrast * torch.randn(n, *shape, generator=generator) + brightness


def with_statistics(module: nn.Module, batch: torch.Tensor) -> nn.Module:
    """Give all weights random numbers and norms statistics near those of a batch; eval mode."""
    generator = torch.Generator().manual_seed(1)
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(-0.3, 1.3, generator=generator)
            else:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=generator)
        for norm in norms:
            norm.momentum = None  # the mean over batches
        module.train()(batch)
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt()
            norm.running_var *= 1.3
    return module.eval()


def assert_images_agree(module: nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Emit a module of images with random weights and compare at several batch sizes."""
    generator = torch.Generator().manual_seed(0)
    with_statistics(module, images(8, shape, generator))
    model = onnx_model(module, {"input": TensorSpec(shape)})
    onnx.checker.check_model(model, full_check=True)
    session = onnx_session(model.SerializeToString())
    for batch_size in BATCH_SIZES:
        inputs = images(batch_size, shape, generator)
        with torch.no_grad():
            expected = module(inputs.clone()).numpy()
        (found,) = session.run(["logits"], {"input": inputs.numpy()})
        assert_close(found, expected)
    return model


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that outputs agree, and that they differ from sample to sample."""
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(found - expected).max() <= TOLERANCE * scale
    if len(expected) > 1:
        assert (expected.max(axis=0) - expected.min(axis=0)).max() >= 0.02 * scale


def operations(model: onnx.ModelProto) -> list[str]:
    """Names of the operations in order, the naming of outputs left out."""
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]

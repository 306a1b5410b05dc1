"""Convolutions with the norm that follows them, and norms alone."""

from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hardware_profiles.onnx_operations.call import (
    Array,
    Call,
    Emitter,
    Graph,
    UnknownOperationError,
    as_numpy,
)

Transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *Transposed)
BatchNorm = _BatchNorm


def emit_convolution(graph: Graph, call: Call, norm: _BatchNorm | None = None) -> None:
    """Emit a convolution, the norm that alone reads it folded in."""
    conv = call.module
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise call.refuse("only zero padding by numbers")
    if call.arguments or call.settings or len(call.inputs) != 1:
        raise call.refuse("only images, no size of the output")
    transposed = isinstance(conv, Transposed)
    weight = as_numpy(conv.weight)
    bias = None if conv.bias is None else as_numpy(conv.bias)
    if norm is not None:
        scale, shift = _scale_and_shift(norm)
        weight = _scaled(weight, scale, conv.groups, transposed)
        bias = (shift if bias is None else shift + scale * bias).astype(np.float32)
    names = [*call.inputs, graph.weight(f"{call.output}.weight", weight)]
    if bias is not None:
        names.append(graph.weight(f"{call.output}.bias", bias))
    padding = [int(p) for p in conv.padding]
    more = {"output_padding": list(conv.output_padding)} if transposed else {}
    graph.add(
        "ConvTranspose" if transposed else "Conv",
        names,
        call.output,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[*padding, *padding],
        dilations=list(conv.dilation),
        group=conv.groups,
        **more,
    )


def _scaled(weight: Array, scale: Array, groups: int, transposed: bool) -> Array:
    """Scale every output channel; transposed weights have those of a group on the second axis."""
    if transposed:
        spatial = (1,) * (weight.ndim - 2)
        by_group = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.float64)
        scaled: Any = by_group * scale.reshape(groups, 1, -1, *spatial)
        return scaled.reshape(weight.shape).astype(np.float32)  # type: ignore[no-any-return]
    by_channel = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    return (weight.astype(np.float64) * by_channel).astype(np.float32)


def _scale_and_shift(norm: _BatchNorm) -> tuple[Array, Array]:
    """y = scale * x + shift of a batch norm in eval mode; computed in double precision."""
    weight, bias, mean, variance = (tensor.astype(np.float64) for tensor in _tensors(norm))
    scale = weight / np.sqrt(variance + norm.eps)
    return scale, bias - mean * scale


def _tensors(norm: _BatchNorm) -> list[Array]:
    """Return weight, bias, mean and variance; those of a norm without weights are 1 and 0."""
    if norm.running_mean is None or norm.running_var is None:
        raise UnknownOperationError(f"no ONNX emission for {norm}: it has no statistics")
    mean, variance = as_numpy(norm.running_mean), as_numpy(norm.running_var)
    weight = np.ones_like(mean) if norm.weight is None else as_numpy(norm.weight)
    bias = np.zeros_like(mean) if norm.bias is None else as_numpy(norm.bias)
    return [weight, bias, mean, variance]


def _emit_norm(graph: Graph, call: Call) -> None:
    norm = call.module
    words = ("weight", "bias", "running_mean", "running_var")
    weights = [
        graph.weight(f"{call.output}.{word}", tensor)
        for word, tensor in zip(words, _tensors(norm), strict=True)
    ]
    graph.add("BatchNormalization", [*call.inputs, *weights], call.output, epsilon=norm.eps)


CONVOLUTION_MODULES: dict[type[nn.Module], Emitter] = {
    **dict.fromkeys(Convolution, emit_convolution),
    nn.BatchNorm1d: _emit_norm,
    nn.BatchNorm2d: _emit_norm,
    nn.BatchNorm3d: _emit_norm,
}

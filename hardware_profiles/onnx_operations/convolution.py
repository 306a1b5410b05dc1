"""Convolutions with the norm that follows them, norms alone, and pools."""

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
    module_weight,
)

Convolution = (nn.Conv1d, nn.Conv2d)
BatchNorm = _BatchNorm


def emit_convolution(graph: Graph, call: Call, norm: _BatchNorm | None = None) -> None:
    """Emit a convolution, the norm that alone reads it folded in."""
    conv = call.module
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise call.refuse("only zero padding by numbers")
    weight = as_numpy(conv.weight)
    bias = None if conv.bias is None else as_numpy(conv.bias)
    if norm is not None:
        scale, shift = _scale_and_shift(norm)
        by_channel = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        weight = (weight.astype(np.float64) * by_channel).astype(np.float32)
        bias = (shift if bias is None else shift + scale * bias).astype(np.float32)
    names = [*call.inputs, graph.weight(f"{call.output}.weight", weight)]
    if bias is not None:
        names.append(graph.weight(f"{call.output}.bias", bias))
    padding = [int(p) for p in conv.padding]
    graph.add(
        "Conv",
        names,
        call.output,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[*padding, *padding],
        dilations=list(conv.dilation),
        group=conv.groups,
    )


def _scale_and_shift(norm: _BatchNorm) -> tuple[Array, Array]:
    """y = scale * x + shift of a batch norm in eval mode; computed in double precision."""
    _check_norm(norm)
    assert norm.running_mean is not None and norm.running_var is not None
    variance = norm.running_var.detach().double()
    scale = norm.weight.detach().double() / (variance + norm.eps).sqrt()
    shift = norm.bias.detach().double() - norm.running_mean.detach().double() * scale
    return scale.cpu().numpy(), shift.cpu().numpy()


def _check_norm(norm: _BatchNorm) -> None:
    if not norm.affine or norm.running_mean is None:
        raise UnknownOperationError(f"no ONNX emission for {norm}: it has no weights or statistics")


def _emit_norm(graph: Graph, call: Call) -> None:
    norm = call.module
    _check_norm(norm)
    names = ("weight", "bias", "running_mean", "running_var")
    weights = [module_weight(graph, call, name) for name in names]
    graph.add("BatchNormalization", [*call.inputs, *weights], call.output, epsilon=norm.eps)


def _emit_global_pool(graph: Graph, call: Call) -> None:
    if call.module.output_size not in (1, (1, 1), (1,)):
        raise call.refuse("only a global pool is known")
    graph.add("GlobalAveragePool", call.inputs, call.output)


CONVOLUTION_MODULES: dict[type[nn.Module], Emitter] = {
    nn.Conv2d: emit_convolution,
    nn.Conv1d: emit_convolution,
    nn.BatchNorm2d: _emit_norm,
    nn.BatchNorm1d: _emit_norm,
    nn.AdaptiveAvgPool2d: _emit_global_pool,
    nn.AdaptiveAvgPool1d: _emit_global_pool,
}

"""Layers of searched cells: operations to choose from, sums and joins of what they bring
(arXiv:1806.09055, arXiv:2001.00326).

No first operation writes over its input: several layers of a cell read the same.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces.layer_spec import LayerSpec


def relu_conv_norm(source: int, result: int, kernel: int, stride: int) -> nn.Sequential:
    """ReLU, convolution, batch norm: b x in x h x w -> b x out x h' x w'."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(source, result, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(result),
    )


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2, the second one pixel further, joined; batch norm:
    b x in x h x w -> b x out x h/2 x w/2, h and w even.
    """

    def __init__(self, source: int, result: int) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.first = nn.Conv2d(source, result // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(source, result - result // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(result)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.activation(inputs)
        halves = [self.first(hidden), self.second(hidden[:, :, 1:, 1:])]
        outputs: Tensor = self.norm(torch.cat(halves, dim=1))
        return outputs


class ReductionBlock(nn.Module):
    """NAS-Bench-201's residual block between stages: b x in x h x w -> b x out x h/2 x w/2."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        source, result = spec["in_channels"], spec["out_channels"]
        self.conv_a = relu_conv_norm(source, result, 3, 2)
        self.conv_b = relu_conv_norm(result, result, 3, 1)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(source, result, 1, bias=False)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.conv_b(self.conv_a(inputs))
        outputs: Tensor = self.downsample(inputs) + hidden
        return outputs


class Sum(nn.Module):
    """Sum of two or more tensors of one size, added in their order."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Apply the layer."""
        total = first
        for other in others:
            total = total + other
        return total


class Concat(nn.Module):
    """Several tensors joined along the channels: n times b x c x ... -> b x (n c) x ...."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the layer."""
        return torch.cat(inputs, dim=1)


class Zero(nn.Module):
    """Nothing of the input: NAS-Bench-201's `none`, which multiplies by 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        return inputs * 0


def _depthwise(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1x1 convolution, batch norm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def _separable(kernel: int, channels: int, stride: int) -> nn.Module:
    return nn.Sequential(*_depthwise(channels, kernel, stride), *_depthwise(channels, kernel, 1))


def _dilated(kernel: int, channels: int, stride: int) -> nn.Module:
    return nn.Sequential(*_depthwise(channels, kernel, stride, dilation=2))


def _normal(kernel: int, channels: int, stride: int) -> nn.Module:
    return relu_conv_norm(channels, channels, kernel, stride)


OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, stride: Zero(),
    "skip_connect": lambda channels, stride: FactorizedReduce(channels, channels),
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda channels, stride: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "nor_conv_1x1": partial(_normal, 1),
    "nor_conv_3x3": partial(_normal, 3),
    "dil_conv_3x3": partial(_dilated, 3),
    "dil_conv_5x5": partial(_dilated, 5),
    "sep_conv_3x3": partial(_separable, 3),
    "sep_conv_5x5": partial(_separable, 5),
}
"""Operation -> module of (channels, stride); a skip of stride 1 is no layer, `none` has 1."""


def _operation(spec: LayerSpec) -> nn.Module:
    """Name the module by the operation: in a shared layer each has weights of its own."""
    name = spec["operation"]
    return nn.Sequential(OrderedDict({name: OPERATIONS[name](spec["channels"], spec["stride"])}))


def _relu_conv_norm(spec: LayerSpec) -> nn.Module:
    return relu_conv_norm(spec["in_channels"], spec["out_channels"], spec["kernel"], spec["stride"])


def _norm_relu(spec: LayerSpec) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(spec["channels"]), nn.ReLU(inplace=True))


CELLS: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "cell_operation": _operation,
    "relu_conv_norm": _relu_conv_norm,
    "factorized_reduce": lambda spec: FactorizedReduce(spec["in_channels"], spec["out_channels"]),
    "reduction_block": ReductionBlock,
    "sum": lambda spec: Sum(),
    "concat": lambda spec: Concat(),
    "norm_relu": _norm_relu,
}

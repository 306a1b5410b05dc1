"""Convolutions that compute the same in less time on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Range = tuple[int, int]  # begin, and end beyond the last


def with_fast_convolutions(module: nn.Module) -> nn.Module:
    """Replace the pointwise and depthwise 2-d convolutions below a module by faster ones of the
    same weights; return the module.

    They are for running, not for export: what a tracer sees of them is no convolution.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            setattr(module, name, _faster(child))
        else:
            with_fast_convolutions(child)
    return module


def _faster(convolution: nn.Conv2d) -> nn.Conv2d:
    kernel, stride = convolution.kernel_size, convolution.stride
    regular = convolution.padding_mode == "zeros" and convolution.dilation == (1, 1)
    kind: type[_Shared] | None = None
    if regular and kernel == stride == (1, 1) and convolution.groups == 1:
        kind = _Pointwise if convolution.padding == (0, 0) else None
    elif regular and convolution.groups == convolution.in_channels == convolution.out_channels:
        centred = convolution.padding == (kernel[0] // 2, kernel[1] // 2)
        odd_square = kernel[0] == kernel[1] and kernel[0] % 2 == 1 and stride[0] == stride[1]
        kind = _Depthwise if centred and odd_square and convolution.bias is None else None
    return convolution if kind is None else kind(convolution)


class _Shared(nn.Conv2d):
    """A convolution with the weights of another one."""

    def __init__(self, other: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(other.__dict__)


class _Pointwise(_Shared):
    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer: b x in x h x w -> b x out x h x w."""
        if inputs.device.type != "cpu" or not inputs.is_contiguous(
            memory_format=torch.channels_last
        ):
            return super().forward(inputs)
        # A matrix product reads a slice of shared weights where it is; a convolution copies it.
        outputs = F.linear(inputs.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return outputs.permute(0, 3, 1, 2)


class _Depthwise(_Shared):
    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer: b x c x h x w -> b x c x h' x w'."""
        if inputs.device.type != "cpu":
            return super().forward(inputs)
        return depthwise_convolution(inputs, self.weight, self.stride[0])


def depthwise_convolution(inputs: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Convolve every channel with its own centred kernel, zeros around the input.

    Rows and columns of a kernel that meet zeros only are left out: at 1 x 1 inputs a kernel of 7
    is its central number.

    Args:
        inputs: b x c x h x w.
        kernels: c x 1 x k x k, k odd.
        stride: of both dimensions.

    Returns:
        b x c x ceil(h / stride) x ceil(w / stride).
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        inputs, kernels = inputs.to(dtype), kernels.to(dtype)
    size = kernels.shape[2]
    rows, columns = (_reach(extent, size, stride) for extent in inputs.shape[2:])
    kernels = kernels[:, :, rows[0] : rows[1], columns[0] : columns[1]]
    padding = (size // 2 - rows[0], size // 2 - columns[0])
    if kernels.shape[2:] == (1, 1) and stride == 1:
        return inputs * kernels.view(1, -1, 1, 1)
    if torch.is_grad_enabled() and (inputs.requires_grad or kernels.requires_grad):
        outputs: Tensor = _DepthwiseFunction.apply(  # type: ignore[no-untyped-call]
            inputs, kernels, stride, padding
        )
        return outputs
    return F.conv2d(inputs, kernels, None, stride, padding, 1, len(kernels))


def _reach(extent: int, size: int, stride: int) -> Range:
    """Return which positions of a centred kernel ever meet an input of this extent."""
    centre, last_output = size // 2, (extent - 1) // stride
    return max(0, centre - last_output * stride), min(size, centre + extent)


class _DepthwiseFunction(torch.autograd.Function):
    """A depthwise convolution whose gradient of the kernels is computed in strips of columns."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, kernels: Tensor, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(inputs, kernels)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(inputs, kernels, None, stride, padding, 1, len(kernels))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, kernels = ctx.saved_tensors
        of_inputs = of_kernels = None
        if ctx.needs_input_grad[0]:
            of_inputs = _input_gradient(gradient, inputs, kernels, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_kernels = _kernel_gradient(gradient, inputs, kernels, ctx.stride, ctx.padding)
        return of_inputs, of_kernels, None, None


def _input_gradient(
    gradient: Tensor, inputs: Tensor, kernels: Tensor, stride: int, padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of the inputs; with a stride oneDNN has no routine for it in bf16."""
    tensors = (gradient, inputs, kernels)
    if stride > 1 and inputs.dtype == torch.bfloat16:
        tensors = (gradient.float(), inputs.float(), kernels.float())
    return _gradients(*tensors, stride, padding, (True, False))[0].to(inputs.dtype)


WIDEST_STRIP = 3
"""Columns of kernels up to which oneDNN has a depthwise routine for their gradient. For wider ones,
or where padding is wider than the stride or the input narrower than the kernel, it falls back to a
general convolution of 5 to 20 times the cost; hence strips, and inputs with their zeros around.
"""
LARGEST_COPY = 2**21  # numbers at a time; larger blocks of memory are slow to get


def _kernel_gradient(
    gradient: Tensor, inputs: Tensor, kernels: Tensor, stride: int, padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of the kernels, c x 1 x rows x columns."""
    if kernels.shape[3] <= WIDEST_STRIP <= min(inputs.shape[2:]):
        return _gradients(gradient, inputs, kernels, stride, padding, (False, True))[1]
    size = max(1, LARGEST_COPY // inputs[0].numel())
    parts = [
        _in_strips(*part, kernels, stride, padding)
        for part in zip(torch.split(gradient, size), torch.split(inputs, size), strict=True)
    ]
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def _in_strips(
    gradient: Tensor, inputs: Tensor, kernels: Tensor, stride: int, padding: tuple[int, int]
) -> Tensor:
    (height, width), (top, left) = inputs.shape[2:], padding
    read_height, read_width = ((extent - 1) * stride for extent in gradient.shape[2:])
    bottom = read_height + kernels.shape[2] - height - top
    strips = []
    for strip in kernels.tensor_split(-(-kernels.shape[3] // WIDEST_STRIP), dim=3):
        right = read_width + strip.shape[3] - width - left
        moved = F.pad(inputs, (left, right, top, bottom))
        strips.append(_gradients(gradient, moved, strip, stride, (0, 0), (False, True))[1])
        left -= strip.shape[3]
    return torch.cat(strips, dim=3)


def _gradients(
    gradient: Tensor,
    inputs: Tensor,
    kernels: Tensor,
    stride: int,
    padding: tuple[int, int],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of inputs and kernels, of which those not wanted are no tensors.

    Not `torch.nn.grad`, which hides from oneDNN how the tensors lie in memory.
    """
    of_inputs, of_kernels, _ = torch.ops.aten.convolution_backward(
        gradient,
        inputs,
        kernels,
        None,
        (stride, stride),
        padding,
        (1, 1),
        False,
        (0, 0),
        len(kernels),
        (*wanted, False),
    )
    return of_inputs, of_kernels

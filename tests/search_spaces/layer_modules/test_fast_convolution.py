import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.layer_modules import layer_module, layer_skeleton
from search_spaces.layer_modules.fast_convolution import (
    depthwise_convolution,
    with_fast_convolutions,
)
from search_spaces.layer_spec import LayerSpec

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def results(function, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Outputs and both gradients of a weighted sum of them."""
    inputs, weights = inputs.detach().requires_grad_(), weights.detach().requires_grad_()
    outputs = function(inputs, weights)
    (outputs * images(*outputs.shape, seed=9)).sum().backward()
    return [outputs.detach(), inputs.grad, weights.grad]


@pytest.mark.parametrize(("kernel", "stride"), list(itertools.product((1, 3, 5, 7), (1, 2, 3))))
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (3, 8), (9, 5), (16, 16)])
def test_depthwise_outputs_and_gradients_are_those_of_torch_in_float64(kernel, stride, size):
    inputs, kernels = images(3, 18, *size), images(18, 1, kernel, kernel, seed=1)
    expected = results(
        lambda x, w: F.conv2d(x, w, None, stride, kernel // 2, 1, 18),
        inputs.double(),
        kernels.double(),
    )
    for layout in LAYOUTS:
        found = results(
            lambda x, w: depthwise_convolution(x, w, stride),
            inputs.contiguous(memory_format=layout),
            kernels,
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_gradients_of_kernels_are_summed_over_parts_of_a_batch(monkeypatch):
    inputs, kernels = images(7, 4, 12, 12), images(4, 1, 7, 7, seed=1)
    whole = results(lambda x, w: depthwise_convolution(x, w, 1), inputs, kernels)
    monkeypatch.setattr("search_spaces.layer_modules.fast_convolution.LARGEST_COPY", 3 * 4 * 144)
    parts = results(lambda x, w: depthwise_convolution(x, w, 1), inputs, kernels)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_only_the_gradients_asked_for_are_computed():
    inputs, kernels = images(2, 4, 8, 8), images(4, 1, 5, 5, seed=1).requires_grad_()
    outputs = depthwise_convolution(inputs, kernels, 1)
    (gradient,) = torch.autograd.grad(outputs.sum(), kernels)
    assert gradient.shape == kernels.shape
    with torch.no_grad():
        assert torch.equal(depthwise_convolution(inputs, kernels, 1), outputs)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 7])
def test_under_autocast_outputs_and_gradients_are_close_to_those_in_float64(kernel, stride):
    inputs, kernels = images(3, 18, 12, 12), images(18, 1, kernel, kernel, seed=1)

    def mixed(x, w):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = depthwise_convolution(x, w, stride)
        assert outputs.dtype == torch.bfloat16
        return outputs.float()

    expected = results(
        lambda x, w: F.conv2d(x, w, None, stride, kernel // 2, 1, 18),
        inputs.double(),
        kernels.double(),
    )
    found = results(mixed, inputs.contiguous(memory_format=torch.channels_last), kernels)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 0.02 * other.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [False, True])
def test_pointwise_outputs_and_gradients_are_those_of_torch(layout, bias):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Conv2d(6, 10, 1, bias=bias))
    fast = with_fast_convolutions(copy.deepcopy(plain))
    inputs = images(4, 6, 5, 3).contiguous(memory_format=layout)
    outputs = []
    for net in (plain, fast):
        outputs.append(net(inputs))
        outputs[-1].square().sum().backward()
        assert outputs[-1].is_contiguous(memory_format=layout)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 1, 2),
        nn.Conv2d(4, 4, 5, padding=2, groups=2),
        nn.Conv2d(4, 4, 5, padding=4, dilation=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),  # with a bias
    ],
)
def test_other_convolutions_are_left_alone(other):
    net = nn.Sequential(nn.Sequential(other), nn.ReLU())
    assert with_fast_convolutions(net)[0][0] is other


def test_weights_keep_their_names_and_are_shared():
    sizes = {"in_channels": 8, "mid_channels": 16, "out_channels": 8, "squeeze_channels": 4}
    rest = {"kernel": 5, "stride": 1, "height": 6, "width": 6, "activation": "relu"}
    spec = LayerSpec.of("inverted_residual", sizes | rest)
    module = layer_module(spec)
    before = dict(module.named_parameters())
    after = dict(with_fast_convolutions(module).named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    kinds = [type(m) for m in layer_skeleton(spec).modules() if isinstance(m, nn.Conv2d)]
    assert kinds
    assert nn.Conv2d not in kinds

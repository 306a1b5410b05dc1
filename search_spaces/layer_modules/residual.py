"""Residual blocks of convolutions, and the pool that comes before them."""

from collections.abc import Callable

from torch import Tensor, nn

from search_spaces.layer_modules.activations import ACTIVATIONS
from search_spaces.layer_spec import LayerSpec


def _convolution(source: int, result: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(source, result, kernel, stride, kernel // 2, bias=False)


class Bottleneck(nn.Module):
    """ResNet-D's bottleneck (arXiv:1512.03385, arXiv:1812.01187): b x in x h x w -> b x out x h' x
    w'.

    1x1, 3x3 with the stride, 1x1; the activation also after the sum. The shortcut is the identity,
    or, where `shortcut` is "projection", an average pool by the stride, a 1x1 convolution and a
    norm.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        source, mid, result, stride = (
            spec[n] for n in ("in_channels", "mid_channels", "out_channels", "stride")
        )
        activation = ACTIVATIONS[spec["activation"]]
        self.reduce = nn.Sequential(
            _convolution(source, mid, 1), nn.BatchNorm2d(mid), activation(inplace=True)
        )
        self.inner = nn.Sequential(
            _convolution(mid, mid, 3, stride), nn.BatchNorm2d(mid), activation(inplace=True)
        )
        self.expand = nn.Sequential(_convolution(mid, result, 1), nn.BatchNorm2d(result))
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else None
        projection = (_convolution(source, result, 1), nn.BatchNorm2d(result))
        self.pool = pool if spec["shortcut"] == "projection" else None
        self.projection = nn.Sequential(*projection) if spec["shortcut"] == "projection" else None
        self.activation = activation(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.expand(self.inner(self.reduce(inputs)))
        shortcut = inputs if self.pool is None else self.pool(inputs)
        if self.projection is not None:
            shortcut = self.projection(shortcut)
        outputs: Tensor = self.activation(hidden + shortcut)
        return outputs


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (arXiv:1512.03385): b x in x h x w -> b x out x h' x w'.

    The first has the stride; the activation also after the sum. The shortcut is the identity, or,
    where `shortcut` is "projection", a 1x1 convolution with the stride and a norm.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        source, mid, result, stride = (
            spec[n] for n in ("in_channels", "mid_channels", "out_channels", "stride")
        )
        activation = ACTIVATIONS[spec["activation"]]
        self.first = _convolution(source, mid, 3, stride)
        self.first_norm = nn.BatchNorm2d(mid)
        self.first_activation = activation(inplace=True)
        self.second = _convolution(mid, result, 3)
        self.second_norm = nn.BatchNorm2d(result)
        self.projection = (
            nn.Sequential(_convolution(source, result, 1, stride), nn.BatchNorm2d(result))
            if spec["shortcut"] == "projection"
            else None
        )
        self.activation = activation(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.first_activation(self.first_norm(self.first(inputs)))
        hidden = self.second_norm(self.second(hidden))
        shortcut = inputs if self.projection is None else self.projection(inputs)
        outputs: Tensor = self.activation(hidden + shortcut)
        return outputs


class ResidualConvolution(nn.Module):
    """A convolution with norm and activation, added to its input: b x in x h x w, kept.

    Nothing follows the sum (once-for-all's optional layer of the stem, arXiv:1908.09791).
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        channels = spec["in_channels"]
        self.conv = _convolution(channels, channels, spec["kernel"])
        self.norm = nn.BatchNorm2d(channels)
        self.activation = ACTIVATIONS[spec["activation"]](inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        outputs: Tensor = self.activation(self.norm(self.conv(inputs))) + inputs
        return outputs


def _max_pool(spec: LayerSpec) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(spec["kernel"], spec["stride"], spec["kernel"] // 2))


RESIDUALS: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "bottleneck": Bottleneck,
    "basic_block": BasicBlock,
    "residual_convolution": ResidualConvolution,
    "max_pool": _max_pool,
}

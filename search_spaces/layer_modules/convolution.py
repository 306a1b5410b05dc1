"""Convolutional blocks on images."""

from collections.abc import Callable

from torch import Tensor, nn

from search_spaces.layer_modules.activations import ACTIVATIONS
from search_spaces.layer_spec import LayerSpec


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation: b x in x h x w -> b x out x h' x w'."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        kernel = spec["kernel"]
        self.conv = nn.Conv2d(
            spec["in_channels"],
            spec["out_channels"],
            kernel,
            spec["stride"],
            padding=kernel // 2,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(spec["out_channels"])
        self.activation = ACTIVATIONS[spec["activation"]](inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        outputs: Tensor = self.activation(self.norm(self.conv(inputs)))
        return outputs


class SqueezeExcite(nn.Module):
    """Scale channels by what their means say (arXiv:1709.01507, hard sigmoid as in MobileNetV3)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.activation(self.reduce(self.pool(inputs)))
        outputs: Tensor = inputs * self.gate(self.expand(hidden))
        return outputs


class InvertedResidual(nn.Module):
    """MobileNetV3's block (arXiv:1905.02244): b x in x h x w -> b x out x h' x w'.

    No expansion where `mid_channels` equals `in_channels`; no squeeze-excite where
    `squeeze_channels` is 0; a residual where stride is 1 and the channels agree.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        source, mid, result, kernel = (
            spec[n] for n in ("in_channels", "mid_channels", "out_channels", "kernel")
        )
        activation = ACTIVATIONS[spec["activation"]]
        self.expand = (
            nn.Sequential(
                nn.Conv2d(source, mid, 1, bias=False), nn.BatchNorm2d(mid), activation(inplace=True)
            )
            if mid != source
            else None
        )
        self.depthwise = nn.Conv2d(
            mid, mid, kernel, spec["stride"], kernel // 2, groups=mid, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(mid)
        self.activation = activation(inplace=True)
        self.squeeze_excite = (
            SqueezeExcite(mid, spec["squeeze_channels"]) if spec["squeeze_channels"] else None
        )
        self.project = nn.Conv2d(mid, result, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(result)
        self.residual = spec["stride"] == 1 and source == result

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden: Tensor = inputs if self.expand is None else self.expand(inputs)
        hidden = self.activation(self.depthwise_norm(self.depthwise(hidden)))
        if self.squeeze_excite is not None:
            hidden = self.squeeze_excite(hidden)
        hidden = self.project_norm(self.project(hidden))
        return inputs + hidden if self.residual else hidden


def _convolution(spec: LayerSpec) -> nn.Module:
    kernel = spec["kernel"]
    return nn.Sequential(
        nn.Conv2d(spec["in_channels"], spec["out_channels"], kernel, spec["stride"], kernel // 2)
    )


CONVOLUTIONS: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "conv_norm": ConvNorm,
    "convolution": _convolution,
    "inverted_residual": InvertedResidual,
}

"""Layers on sequences (b x channels x frames), of any number of frames."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.layer_modules.cell import Concat, Sum
from search_spaces.layer_spec import LayerSpec

LEAST_VARIANCE = 1e-9  # of EfficientTDNN's pooling: a root of 0 has no gradient


def conv_relu_norm(source: int, result: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Build convolution, ReLU and norm in this order; as many frames leave as enter."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv1d(source, result, kernel, padding=padding, dilation=dilation, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(result),
    )


def _conv_norm(spec: LayerSpec) -> nn.Module:
    sizes = (spec[name] for name in ("in_channels", "out_channels", "kernel", "dilation"))
    return conv_relu_norm(*sizes)


def _pointwise(spec: LayerSpec) -> nn.Module:
    conv = nn.Conv1d(spec["in_channels"], spec["out_channels"], 1, bias=False)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


class SqueezeExcite1d(nn.Module):
    """Scale channels by what their means over time say (arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.reduce = nn.Conv1d(channels, squeezed, 1)
        self.activation = nn.ReLU(inplace=True)
        self.expand = nn.Conv1d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.activation(self.reduce(self.pool(inputs)))
        outputs: Tensor = inputs * self.gate(self.expand(hidden))
        return outputs


class Res2Block(nn.Module):
    """SE-Res2 block of ECAPA-TDNN (arXiv:2005.07143) without its residual: b x c x t -> b x c x t.

    The `mid_channels` inside come in `scale` parts; each but the last is convolved together with
    what the part before gave.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        channels, mid, scale = spec["in_channels"], spec["mid_channels"], spec["scale"]
        self.scale, self.part = scale, mid // scale
        self.first = conv_relu_norm(channels, mid)
        self.convs = nn.ModuleList(
            conv_relu_norm(self.part, self.part, spec["kernel"], spec["dilation"])
            for _ in range(scale - 1)
        )
        self.last = conv_relu_norm(mid, channels)
        self.squeeze_excite = SqueezeExcite1d(channels, spec["squeeze_channels"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.first(inputs)
        results: list[Tensor] = []
        for i, conv in enumerate(self.convs):
            part = hidden.narrow(1, i * self.part, self.part)
            results.append(conv(part + results[-1] if results else part))
        results.append(hidden.narrow(1, (self.scale - 1) * self.part, self.part))
        outputs: Tensor = self.squeeze_excite(self.last(torch.cat(results, dim=1)))
        return outputs


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time: b x c x t -> b x 2c."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        mean = inputs.mean(2, keepdim=True)
        centred = inputs - mean
        variance = (centred * centred).mean(2, keepdim=True)
        outputs: Tensor = self.flatten(_joined(mean, variance))
        return outputs


class AttentiveStatisticsPooling(nn.Module):
    """Mean and standard deviation over time, frames weighted channel by channel
    (arXiv:1803.10963): b x c x t -> b x 2c.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        channels, attention = spec["in_channels"], spec["attention_channels"]
        self.attention = nn.Sequential(
            nn.Conv1d(channels, attention, 1, bias=False),
            nn.Tanh(),
            nn.Conv1d(attention, channels, 1, bias=False),
            nn.Softmax(dim=2),
        )
        self.flatten = nn.Flatten()

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        weights = self.attention(inputs)
        mean = (weights * inputs).sum(2, keepdim=True)
        centred = inputs - mean  # a mean of squares less a squared mean would lose digits
        variance = (weights * (centred * centred)).sum(2, keepdim=True)
        outputs: Tensor = self.flatten(_joined(mean, variance))
        return outputs


def _joined(mean: Tensor, variance: Tensor) -> Tensor:
    return torch.cat([mean, variance.clamp(min=LEAST_VARIANCE).sqrt()], dim=1)


class PooledEmbedding(nn.Module):
    """Norm, linear layer, norm: b x features -> b x embedding."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.pooled_norm = nn.BatchNorm1d(spec["in_features"])
        self.linear = nn.Linear(spec["in_features"], spec["out_features"])
        self.norm = nn.BatchNorm1d(spec["out_features"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        outputs: Tensor = self.norm(self.linear(self.pooled_norm(inputs)))
        return outputs


def _classifier(spec: LayerSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(spec["in_features"], spec["num_classes"]))


SEQUENCES: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "conv_norm_1d": _conv_norm,
    "pointwise_1d": _pointwise,
    "res2_block": Res2Block,
    "sum_1d": lambda spec: Sum(),
    "concat_1d": lambda spec: Concat(),
    "statistics_pooling": StatisticsPooling,
    "attentive_statistics_pooling": AttentiveStatisticsPooling,
    "pooled_embedding": PooledEmbedding,
    "sequence_classifier": _classifier,
}

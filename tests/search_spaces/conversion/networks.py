"""Small networks as people write them, to be made elastic."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.layer1 = nn.Sequential(*(ResidualBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(ResidualBlock(16, 32, 2), ResidualBlock(32, 32, 1))
        self.layer3 = nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(hidden, 1), 1))


class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (32, 32, 0, 64, 64, 0):
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(64 * 16, 128), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(128, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == out_channels
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)
        )
        self.blocks = nn.Sequential(
            InvertedResidual(16, 16, 1, 1),
            InvertedResidual(16, 24, 2, 4),
            InvertedResidual(24, 24, 1, 4),
            InvertedResidual(24, 32, 2, 4),
            InvertedResidual(32, 32, 1, 4),
        )
        self.last = nn.Sequential(
            nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6(inplace=True)
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.last(self.blocks(self.stem(x)))
        return self.classifier(hidden.mean([2, 3]))


class Conv1dNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(8, 32, 7, padding=3),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(32, 64, 5, padding=2),
            nn.GroupNorm(4, 64),
            nn.SiLU(),
            nn.AvgPool1d(2),
            nn.Conv1d(64, 64, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(64, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class TwoOutputs(nn.Module):
    """Says what is in an image, and where."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.classes = nn.Linear(64, 10)
        self.box = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.backbone(x).mean((2, 3))
        return self.classes(hidden), self.box(hidden)


class EncoderClassifier(nn.Module):
    """torch's own transformer encoder, over b x features x t."""

    def __init__(self, batch_first: bool, norm_first: bool):
        super().__init__()
        self.embedding = nn.Linear(8, 64)
        self.positions = nn.Parameter(torch.randn(1, 16, 64))
        layer = nn.TransformerEncoderLayer(
            64, 4, 128, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.batch_first = batch_first
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embedding(x.transpose(1, 2)) + self.positions
        if self.batch_first:
            return self.head(self.encoder(hidden).mean(1))
        return self.head(self.encoder(hidden.transpose(0, 1)).mean(0))


class TextClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, 64)
        self.positions = nn.Embedding(32, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 5)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.encoder(hidden).mean(1))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(24 + 12 * i), nn.ReLU(), nn.Conv2d(24 + 12 * i, 12, 3, padding=1)
            )
            for i in range(4)
        )
        self.head = nn.Linear(72, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        for layer in self.layers:
            hidden = torch.cat([hidden, layer(hidden)], 1)
        return self.head(hidden.mean((2, 3)))


def double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Goes up once by a transposed convolution, once by sampling between pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = double_convolution(3, 16)
        self.down2 = double_convolution(16, 32)
        self.down3 = double_convolution(32, 64)
        self.up2 = nn.ConvTranspose2d(64, 32, 2, 2)
        self.join2 = double_convolution(64, 32)
        self.join1 = double_convolution(48, 16)
        self.output = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        hidden = self.down3(F.max_pool2d(second, 2))
        hidden = self.join2(torch.cat([self.up2(hidden), second], 1))
        hidden = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=False)
        return self.output(self.join1(torch.cat([hidden, first], 1)))


class GatedNet(nn.Module):
    """Has operations that nothing but their name is known of, and grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 64)
        self.second = nn.Linear(32, 64)
        self.grouped = nn.Conv2d(32, 64, 3, padding=1, groups=4)
        self.output = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.glu(self.first(x), -1)
        values, gates = self.second(hidden).chunk(2, -1)
        hidden = values * torch.rsqrt(torch.exp(-gates) + 1)
        hidden = torch.clamp(hidden, -2.0, 2.0).reshape(-1, 32, 1, 1)
        return self.output(self.grouped(hidden).mean((2, 3)))


def normal(*shape: int) -> Inputs:
    return (torch.randn(2, *shape),)


def token_ids() -> Inputs:
    return (torch.randint(0, 100, (2, 32)),)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "resnet": (ResNet, partial(normal, 3, 16, 16)),
    "vgg": (VGG, partial(normal, 3, 16, 16)),
    "mobilenet": (MobileNetV2, partial(normal, 3, 32, 32)),
    "conv1d": (Conv1dNet, partial(normal, 8, 32)),
    "two outputs": (TwoOutputs, partial(normal, 3, 16, 16)),
    **{
        f"encoder{' batch first' * batch_first}{' norm first' * norm_first}": (
            partial(EncoderClassifier, batch_first, norm_first),
            partial(normal, 8, 16),
        )
        for batch_first in (True, False)
        for norm_first in (True, False)
    },
    "text": (TextClassifier, token_ids),
    "densenet": (DenseNet, partial(normal, 3, 16, 16)),
    "unet": (UNet, partial(normal, 3, 16, 16)),
    "gated": (GatedNet, partial(normal, 16)),
}
"""Name -> (builder of the network, builder of a batch of inputs)."""

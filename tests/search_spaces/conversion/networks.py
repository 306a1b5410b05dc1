"""Networks as others write them, small and of random weights: what conversion is tried on."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Example = Tensor | tuple[Tensor, ...]
Builder = Callable[[], tuple[nn.Module, Example]]


def conv_norm(inner: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list:
    """A convolution and its norm."""
    conv = nn.Conv2d(inner, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


class BasicBlock(nn.Module):
    """As in ResNet."""

    def __init__(self, inner: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(inner, out, stride=stride)
        self.conv2, self.bn2 = conv_norm(out, out)
        self.relu = nn.ReLU(inplace=True)
        same = inner == out and stride == 1
        self.downsample = None if same else nn.Sequential(*conv_norm(inner, out, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """Two stages of two blocks."""

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(channels, 16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(16, 16), BasicBlock(16, 16))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), BasicBlock(32, 32))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Vgg(nn.Module):
    """Convolutions with biases in a row, and a classifier that reads flattened pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = 3
        for width in (16, 0, 24, 32, 0):
            if width:
                layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU(inplace=True)]
                inner = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(32 * 16, 48), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(48, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class InvertedResidual(nn.Module):
    """As in MobileNetV2; of any kernel."""

    def __init__(self, inner: int, out: int, stride: int, expand: int, kernel: int = 3) -> None:
        super().__init__()
        hidden = inner * expand
        self.use_residual = stride == 1 and inner == out
        self.conv = nn.Sequential(
            *conv_norm(inner, hidden, 1),
            nn.ReLU6(inplace=True),
            *conv_norm(hidden, hidden, kernel, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            *conv_norm(hidden, out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Inverted residuals, of which two have large kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(*conv_norm(3, 16, stride=2), nn.ReLU6(inplace=True)),
            InvertedResidual(16, 8, 1, 1),
            InvertedResidual(8, 16, 2, 3, kernel=5),
            InvertedResidual(16, 16, 1, 3, kernel=7),
            InvertedResidual(16, 16, 1, 3),
            nn.Sequential(*conv_norm(16, 64, 1), nn.ReLU6(inplace=True)),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return self.classifier(x)


def convolutions_1d() -> nn.Module:
    """Of a sound or a sensor."""
    return nn.Sequential(
        nn.Conv1d(6, 24, 7, padding=3),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(24, 32, 5, padding=4, dilation=2),
        nn.GroupNorm(4, 32),
        nn.SiLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


class TwoOutputs(nn.Module):
    """Two heads on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *conv_norm(3, 16), nn.LeakyReLU(0.1), *conv_norm(16, 32, stride=2), nn.Hardswish()
        )
        self.kind, self.colour = nn.Linear(32, 10), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.trunk(x).mean((2, 3))
        return {"kind": self.kind(features), "colour": self.colour(features)}


class Encoder(nn.Module):
    """torch's own encoder on features x frames, with a learned position of every frame."""

    def __init__(self, batch_first: bool, norm_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embedding = nn.Linear(6, 32)
        self.positions = nn.Parameter(torch.randn(1, 9, 32))
        layer = nn.TransformerEncoderLayer(
            32, 4, 48, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x.transpose(1, 2)) + self.positions
        if self.batch_first:
            return self.head(self.encoder(h).mean(1))
        return self.head(self.encoder(h.transpose(0, 1)).mean(0))


class Text(nn.Module):
    """Token ids with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(100, 32), nn.Embedding(12, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.encoder(h)[:, 0]))


class DenseNet(nn.Module):
    """Every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(16 + 8 * i), nn.ReLU(), nn.Conv2d(16 + 8 * i, 8, 3, padding=1)
            )
            for i in range(3)
        )
        self.transition = nn.Sequential(nn.Conv2d(40, 24, 1), nn.AvgPool2d(2), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(self.transition(x).mean((2, 3)))


def double(inner: int, out: int) -> nn.Sequential:
    """Two convolutions of a U-Net."""
    return nn.Sequential(*conv_norm(inner, out), nn.ReLU(), *conv_norm(out, out), nn.ReLU())


class UNet(nn.Module):
    """An output for every pixel; skips, a transposed convolution and bilinear upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.down3 = double(3, 8), double(8, 16), double(16, 24)
        self.up2 = nn.ConvTranspose2d(24, 16, 2, 2)
        self.conv2, self.conv1 = double(32, 16), double(24, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.down3(F.max_pool2d(b, 2))
        y = self.conv2(torch.cat([self.up2(c), b], 1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.conv1(torch.cat([y, a], 1)))


class SqueezeExcite(nn.Module):
    """Channels weighted by what the image is."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weights)


def squeeze_and_excite() -> nn.Module:
    """As in MobileNetV3 and EfficientNet."""
    return nn.Sequential(
        *conv_norm(3, 24, stride=2),
        nn.Hardswish(),
        SqueezeExcite(24, 8),
        *conv_norm(24, 32),
        nn.SiLU(),
        SqueezeExcite(32, 8),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class ShuffleNet(nn.Module):
    """Grouped convolutions with shuffled channels between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.grouped = nn.Sequential(*conv_norm(32, 48, 1, groups=4), nn.ReLU())
        self.depthwise = nn.Sequential(*conv_norm(48, 48, groups=48))
        self.last = nn.Sequential(*conv_norm(48, 32, 1, groups=4), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(F.relu(self.stem(x)))
        b, c, h, w = x.shape
        x = x.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(self.last(self.depthwise(x)).mean(dim=(2, 3)))


class Gates(nn.Module):
    """Halves of channels gate each other, by `glu` and by `chunk`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(10, 64), nn.Linear(32, 48)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.second(F.glu(self.first(x), -1)).chunk(2, dim=-1)
        return self.head(value * torch.tanh(gate))


class TiedWeights(nn.Module):
    """One module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(10, 24)
        self.shared = nn.Linear(24, 24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.shared(F.relu(self.inner(x))))
        return self.head(F.relu(self.shared(x)))


class ManyWidths(nn.Module):
    """A large kernel where the widths of several branches meet: more than one layer may choose."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, width, 3, padding=1) for width in (8, 16, 24))
        self.large = nn.Conv2d(24, 32, 7, padding=3)
        self.head = nn.Linear(56, 10)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = (F.relu(conv(x)) for conv in (self.a, self.b, self.c))
        y = torch.cat([self.large(torch.cat([a, b], 1)), c], 1)
        return self.head(torch.sigmoid(y).mean((2, 3)))


class AttentionBlock(nn.Module):
    """Attention written by hand: three projections in one, LayerScale."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.project = nn.Linear(32, 96), nn.Linear(32, 32)
        self.scale = nn.Parameter(torch.rand(32))
        self.expand, self.contract = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, 4, 8).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attended = F.softmax(q @ k.transpose(-2, -1) * 8**-0.5, -1) @ v
        x = x + self.scale * self.project(attended.transpose(1, 2).reshape(b, n, c))
        return x + self.contract(F.gelu(self.expand(self.norm2(x))))


class Patches(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.positions = nn.Parameter(torch.randn(1, 17, 32))
        self.blocks = nn.ModuleList([AttentionBlock(), AttentionBlock()])
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def _image(size: int = 16) -> Tensor:
    return torch.randn(2, 3, size, size)


def _encoder(batch_first: bool, norm_first: bool) -> tuple[nn.Module, Example]:
    return Encoder(batch_first, norm_first), torch.randn(2, 6, 9)


NETWORKS: dict[str, Builder] = {
    "resnet": lambda: (ResNet(), _image()),
    "vgg": lambda: (Vgg(), _image()),
    "mobilenet_v2": lambda: (MobileNetV2(), _image()),
    "convolutions_1d": lambda: (convolutions_1d(), torch.randn(2, 6, 20)),
    "two_outputs": lambda: (TwoOutputs(), _image(8)),
    "encoder_batch_pre": partial(_encoder, batch_first=True, norm_first=True),
    "encoder_batch_post": partial(_encoder, batch_first=True, norm_first=False),
    "encoder_frames_pre": partial(_encoder, batch_first=False, norm_first=True),
    "encoder_frames_post": partial(_encoder, batch_first=False, norm_first=False),
    "text": lambda: (Text(), torch.randint(0, 100, (2, 12))),
    "densenet": lambda: (DenseNet(), _image(8)),
    "unet": lambda: (UNet(), _image()),
    "squeeze_excite": lambda: (squeeze_and_excite(), _image()),
    "shufflenet": lambda: (ShuffleNet(), _image()),
    "gates": lambda: (Gates(), torch.randn(2, 10)),
    "tied_weights": lambda: (TiedWeights(), torch.randn(2, 10)),
    "many_widths": lambda: (ManyWidths(), _image(8)),
    "patches": lambda: (Patches(), _image()),
}
"""Name -> builder of a network and an example input; of random weights."""


def seeded(builder: Builder, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build a network in eval mode whose norms know other statistics than 0 and 1, and its example
    inputs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, example = builder()
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.3)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
                nn.init.uniform_(module.weight, 0.5, 1.5)  # of ones all channels count the same
                nn.init.normal_(module.bias, 0, 0.2)
            elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)  # smaller ones let nothing through
    return network.eval(), example if isinstance(example, tuple) else (example,)

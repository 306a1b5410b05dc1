"""Random tensors under the names and shapes that once-for-all published."""

import torch

WIDTHS = {
    "w1.0": ([16, 24, 40, 80, 112, 160], 960, 1280),
    "w1.2": ([24, 32, 48, 96, 136, 192], 1152, 1536),
}
SQUEEZED = (False, True, False, True, True)


def divisible(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Tensors:
    """Random tensors under published names, drawn one after the other."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.all: dict[str, torch.Tensor] = {}

    def weight(self, name, *shape):
        scale = (2 / max(1, torch.Size(shape[1:]).numel())) ** 0.5
        self.all[name] = torch.randn(shape, generator=self.generator) * scale

    def bias(self, name, size):
        self.all[name] = torch.randn(size, generator=self.generator) * 0.1

    def norm(self, name, size):
        self.all[f"{name}.weight"] = torch.rand(size, generator=self.generator) + 0.5
        self.bias(f"{name}.bias", size)
        self.bias(f"{name}.running_mean", size)
        self.all[f"{name}.running_var"] = torch.rand(size, generator=self.generator)
        self.all[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def matrix(self, name, size):
        noise = torch.randn(size, size, generator=self.generator)
        self.all[name] = torch.eye(size) + 0.1 * noise


def published_mobilenet(width="w1.0", matrices=True):
    """All tensors of OFAMobileNetV3, in the names of the authors' present code."""
    channels, final, hidden = WIDTHS[width]
    t = Tensors()
    t.weight("first_conv.conv.weight", channels[0], 3, 3, 3)
    t.norm("first_conv.bn", channels[0])
    t.weight("blocks.0.conv.depth_conv.conv.weight", channels[0], 1, 3, 3)
    t.norm("blocks.0.conv.depth_conv.bn", channels[0])
    t.weight("blocks.0.conv.point_linear.conv.weight", channels[0], channels[0], 1, 1)
    t.norm("blocks.0.conv.point_linear.bn", channels[0])
    source, n = channels[0], 1
    for stage, result in enumerate(channels[1:]):
        for _ in range(4):
            name, mid = f"blocks.{n}.conv", source * 6
            t.weight(f"{name}.inverted_bottleneck.conv.conv.weight", mid, source, 1, 1)
            t.norm(f"{name}.inverted_bottleneck.bn.bn", mid)
            t.weight(f"{name}.depth_conv.conv.conv.weight", mid, 1, 7, 7)
            if matrices:
                t.matrix(f"{name}.depth_conv.conv.5to3_matrix", 9)
                t.matrix(f"{name}.depth_conv.conv.7to5_matrix", 25)
            t.norm(f"{name}.depth_conv.bn.bn", mid)
            if SQUEEZED[stage]:
                squeezed = divisible(mid // 4)
                t.weight(f"{name}.depth_conv.se.fc.reduce.weight", squeezed, mid, 1, 1)
                t.bias(f"{name}.depth_conv.se.fc.reduce.bias", squeezed)
                t.weight(f"{name}.depth_conv.se.fc.expand.weight", mid, squeezed, 1, 1)
                t.bias(f"{name}.depth_conv.se.fc.expand.bias", mid)
            t.weight(f"{name}.point_linear.conv.conv.weight", result, mid, 1, 1)
            t.norm(f"{name}.point_linear.bn.bn", result)
            source, n = result, n + 1
    t.weight("final_expand_layer.conv.weight", final, source, 1, 1)
    t.norm("final_expand_layer.bn", final)
    t.weight("feature_mix_layer.conv.weight", hidden, final, 1, 1)
    t.weight("classifier.linear.weight", 1000, hidden)
    t.bias("classifier.linear.bias", 1000)
    return t.all


def published_resnet():
    """All tensors of OFAResNets, in the names of the authors' present code."""
    t = Tensors()
    for name, source, result in (
        ("input_stem.0", 3, 32), ("input_stem.1.conv", 32, 32), ("input_stem.2", 32, 64),
    ):  # fmt: skip
        t.weight(f"{name}.conv.conv.weight", result, source, 3, 3)
        t.norm(f"{name}.bn.bn", result)
    source, n = 64, 0
    for result, mid, blocks in ((256, 88, 4), (512, 176, 4), (1024, 360, 6), (2048, 720, 4)):
        for b in range(blocks):
            t.weight(f"blocks.{n}.conv1.conv.conv.weight", mid, source, 1, 1)
            t.norm(f"blocks.{n}.conv1.bn.bn", mid)
            t.weight(f"blocks.{n}.conv2.conv.conv.weight", mid, mid, 3, 3)
            t.norm(f"blocks.{n}.conv2.bn.bn", mid)
            t.weight(f"blocks.{n}.conv3.conv.conv.weight", result, mid, 1, 1)
            t.norm(f"blocks.{n}.conv3.bn.bn", result)
            if b == 0:
                t.weight(f"blocks.{n}.downsample.conv.conv.weight", result, source, 1, 1)
                t.norm(f"blocks.{n}.downsample.bn.bn", result)
            source, n = result, n + 1
    t.weight("classifier.linear.linear.weight", 1000, source)
    t.bias("classifier.linear.linear.bias", 1000)
    return t.all


class RunsCode:
    """Pickled, it writes a file where it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))

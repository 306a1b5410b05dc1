"""Published weights, against a forward pass written from their authors' definitions."""

import json
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from search_spaces import InputError
from search_spaces.mobilenet import V3, mobilenet_space
from search_spaces.published_weights import convert, has_kernel_transform, read_published
from search_spaces.resnet import RESNET_50D, resnet_space
from search_spaces.supernet import Supernet
from tests.contracts.published import (
    SQUEEZED,
    RunsCode,
    divisible,
    published_mobilenet,
    published_resnet,
)

SIDE = 64
STRIDES = (2, 2, 2, 1, 2)
HARD_SWISH = (False, False, True, True, True)


def batch_norm(w, name, x):
    channels = x.shape[1]
    scale, shift = w[f"{name}.weight"][:channels], w[f"{name}.bias"][:channels]
    return F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)


def hard_swish(x):
    return x * F.relu6(x + 3) / 6


def mobilenet_forward(w, kernels, expansions, depths, x):
    """OFAMobileNetV3 of w1.0: what a subnet answers, norms on the statistics of the batch."""
    x = F.conv2d(x, w["first_conv.conv.weight"], stride=2, padding=1)
    x = hard_swish(batch_norm(w, "first_conv.bn", x))
    y = F.conv2d(x, w["blocks.0.conv.depth_conv.conv.weight"], padding=1, groups=16)
    y = batch_norm(w, "blocks.0.conv.depth_conv.bn", y).relu()
    y = F.conv2d(y, w["blocks.0.conv.point_linear.conv.weight"])
    x = x + batch_norm(w, "blocks.0.conv.point_linear.bn", y)
    for stage, depth in enumerate(depths):
        act = hard_swish if HARD_SWISH[stage] else F.relu
        for b in range(depth):
            i = 4 * stage + b
            name, source = f"blocks.{i + 1}.conv", x.shape[1]
            mid = divisible(round(source * expansions[i]))
            stride = STRIDES[stage] if b == 0 else 1
            y = F.conv2d(x, w[f"{name}.inverted_bottleneck.conv.conv.weight"][:mid, :source])
            y = act(batch_norm(w, f"{name}.inverted_bottleneck.bn.bn", y))
            kernel = w[f"{name}.depth_conv.conv.conv.weight"][:mid]
            if kernels[i] < 7 and f"{name}.depth_conv.conv.7to5_matrix" in w:
                centre = kernel[:, :, 1:-1, 1:-1].reshape(mid, 25)
                kernel = F.linear(centre, w[f"{name}.depth_conv.conv.7to5_matrix"])
                kernel = kernel.view(mid, 1, 5, 5)
                if kernels[i] < 5:
                    centre = kernel[:, :, 1:-1, 1:-1].reshape(mid, 9)
                    kernel = F.linear(centre, w[f"{name}.depth_conv.conv.5to3_matrix"])
                    kernel = kernel.view(mid, 1, 3, 3)
            border = (kernel.shape[-1] - kernels[i]) // 2  # left where there are no matrices
            kernel = kernel[..., border : border + kernels[i], border : border + kernels[i]]
            y = F.conv2d(y, kernel, stride=stride, padding=kernels[i] // 2, groups=mid)
            y = act(batch_norm(w, f"{name}.depth_conv.bn.bn", y))
            if SQUEEZED[stage]:
                se, num = f"{name}.depth_conv.se.fc", divisible(mid // 4)
                g = y.mean(dim=(2, 3), keepdim=True)
                reduce, expand = w[f"{se}.reduce.weight"], w[f"{se}.expand.weight"]
                g = F.conv2d(g, reduce[:num, :mid], w[f"{se}.reduce.bias"][:num]).relu()
                g = F.conv2d(g, expand[:mid, :num], w[f"{se}.expand.bias"][:mid])
                y = y * F.relu6(g + 3) / 6
            y = F.conv2d(y, w[f"{name}.point_linear.conv.conv.weight"][:, :mid])
            y = batch_norm(w, f"{name}.point_linear.bn.bn", y)
            x = x + y if stride == 1 and y.shape[1] == source else y
    x = F.conv2d(x, w["final_expand_layer.conv.weight"])
    x = hard_swish(batch_norm(w, "final_expand_layer.bn", x))
    x = hard_swish(F.conv2d(x.mean(dim=(2, 3), keepdim=True), w["feature_mix_layer.conv.weight"]))
    return F.linear(x.flatten(1), w["classifier.linear.weight"], w["classifier.linear.bias"])


def resnet_forward(w, depths, expansions, widths, x):
    """OFAResNets: what a subnet answers, norms on the statistics of the batch."""
    ratios = [(0.65, 0.8, 1.0)[i] for i in widths]
    inside = divisible(divisible(64 * ratios[0]) // 2)
    outside = divisible(64 * ratios[1])

    def layer(name, x, result, kernel, stride=1):
        weight = w[f"{name}.conv.conv.weight"][:result, : x.shape[1]]
        x = F.conv2d(x, weight, stride=stride, padding=kernel // 2)
        return batch_norm(w, f"{name}.bn.bn", x)

    x = layer("input_stem.0", x, inside, 3, 2).relu()
    if depths[0] == 2:
        x = layer("input_stem.1.conv", x, inside, 3).relu() + x
    x = layer("input_stem.2", x, outside, 3).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    first = 0
    for stage, (base, least) in enumerate(((256, 2), (512, 2), (1024, 4), (2048, 2))):
        result = divisible(base * ratios[2 + stage])
        for b in range(least + depths[1 + stage]):
            n = first + b
            stride = 2 if b == 0 and stage else 1
            mid = divisible(round(result * expansions[n]))
            y = layer(f"blocks.{n}.conv1", x, mid, 1).relu()
            y = layer(f"blocks.{n}.conv2", y, mid, 3, stride).relu()
            y = layer(f"blocks.{n}.conv3", y, result, 1)
            if b == 0:
                x = F.avg_pool2d(x, stride, stride, 0, ceil_mode=True)
                x = layer(f"blocks.{n}.downsample", x, result, 1)
            x = (x + y).relu()
        first += least + 2
    x = x.mean(dim=(2, 3))
    weight = w["classifier.linear.linear.weight"][:, : x.shape[1]]
    return F.linear(x, weight, w["classifier.linear.linear.bias"])


def single(name):
    """The same name where dynamic layers are not nested."""
    return re.sub(r"\b(conv|bn|linear)\.\1\.", r"\1.", name)


NAMES = {
    "as published": lambda name: name,
    "older prefix": lambda name: name.replace(".conv.", ".mobile_inverted_conv.", 1)
    if name.startswith("blocks") else name,
    "single nesting": single,
    "of a wrapped module": lambda name: f"module.{name}",
    "all at once": lambda name: "module." + single(
        name.replace(".conv.", ".mobile_inverted_conv.", 1) if name.startswith("blocks") else name
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def mobilenet():
    return published_mobilenet()


@pytest.fixture(scope="module")
def resnet():
    return published_resnet()


def assert_agree(supernet, text, expected, x):
    architecture = supernet.space.parse(json.dumps(text))
    subnet = supernet.extract(architecture).train()
    with torch.no_grad():
        found = subnet(x)
    scale = expected.abs().max()
    assert expected.std(dim=0).mean() > 1e-2 * scale
    assert (found - expected).abs().max() <= 1e-4 * scale


# --- MobileNetV3 ----------------------------------------------------------------------------------

MOBILENETS = {
    "largest": ([7] * 20, [6] * 20, [4] * 5),
    "smallest": ([3] * 20, [3] * 20, [2] * 5),
    "mixed": ([3, 5, 7, 5] * 5, [3, 6, 4, 3, 6] * 4, [4, 3, 2, 4, 3]),
}


@pytest.mark.parametrize("matrices", [True, False], ids=["matrices", "no matrices"])
def test_subnets_of_mobilenet_answer_as_published(matrices):
    tensors = published_mobilenet(matrices=matrices)
    weights = convert("mobilenet-v3", tensors)
    assert has_kernel_transform(weights) == matrices
    space = mobilenet_space(replace(V3, resolutions=(SIDE,)), 1000, 3)  # the same weights, sooner
    supernet = Supernet(space, kernel_transform=matrices)
    supernet.load_state_dict(weights)
    assert list(weights) == [name for name, _ in supernet.named_parameters()]
    x = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for kernels, expansions, depths in MOBILENETS.values():
        expected = mobilenet_forward(tensors, kernels, expansions, depths, x)
        text = {"ks": kernels, "e": expansions, "d": depths, "r": SIDE}
        assert_agree(supernet, text, expected, x)


@pytest.mark.parametrize("naming", NAMES)
def test_every_way_of_naming_gives_the_same_weights(mobilenet, naming):
    renamed = {NAMES[naming](name): tensor for name, tensor in mobilenet.items()}
    assert len(renamed) == len(mobilenet)
    assert (naming == "as published") == (renamed.keys() == mobilenet.keys())
    expected, found = convert("mobilenet-v3", mobilenet), convert("mobilenet-v3", renamed)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_names_are_those_of_the_whole_space():
    weights = convert("mobilenet-v3-w1.2", published_mobilenet("w1.2"))
    preset = replace(V3, resolutions=(SIDE, 224), widths=(1.2,))
    supernet = Supernet(mobilenet_space(preset, 1000, 3), kernel_transform=True)
    shapes = {name: parameter.shape for name, parameter in supernet.named_parameters()}
    assert {name: weight.shape for name, weight in weights.items()} == shapes
    assert sum(weight.numel() for weight in weights.values()) == 10_715_752  # as counted there


def test_weights_are_copies_in_single_precision(mobilenet):
    halves = {name: t.half() if t.is_floating_point() else t for name, t in mobilenet.items()}
    weights = convert("mobilenet-v3", halves)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    name = "classifier.linear.bias"
    weights["slots.classifier.shared.logits.bias"].zero_()
    assert halves[name].any()


# --- ResNet-50D -----------------------------------------------------------------------------------

RESNETS = {
    "smallest": ([0] * 5, [0.2] * 18, [0] * 6),
    "mixed": ([2, 2, 1, 0, 2], [0.2, 0.35, 0.25] * 6, [1, 2, 0, 2, 1, 0]),
    "timm's": ([2, 1, 2, 2, 1], [0.25] * 18, [2] * 6),
}


def test_subnets_of_resnet_answer_as_published(resnet):
    weights = convert("resnet-50d", resnet)
    assert not has_kernel_transform(weights)
    assert sum(weight.numel() for weight in weights.values()) == 48_105_992
    space = resnet_space(replace(RESNET_50D, resolutions=(72,)), 1000, 3)  # odd sizes in between
    supernet = Supernet(space)
    supernet.load_state_dict(weights)
    assert list(weights) == [name for name, _ in supernet.named_parameters()]
    x = torch.randn(3, 3, 72, 72, generator=torch.Generator().manual_seed(0))
    for depths, expansions, widths in RESNETS.values():
        expected = resnet_forward(resnet, depths, expansions, widths, x)
        text = {"d": depths, "e": expansions, "w": widths, "r": 72}
        assert_agree(supernet, text, expected, x)


def test_names_of_resnet_with_single_nesting(resnet):
    renamed = {single(name): tensor for name, tensor in resnet.items()}
    assert "input_stem.1.conv.conv.weight" in renamed
    assert len(renamed) == len(resnet)
    expected, found = convert("resnet-50d", resnet), convert("resnet-50d", renamed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


# --- what is refused ------------------------------------------------------------------------------


def refusal(function, *arguments) -> str:
    """The message, of two lines at most."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    return message


def test_another_width_is_named():
    wide = published_mobilenet("w1.2")
    message = refusal(convert, "mobilenet-v3", wide)
    assert message == (
        "expected weights of mobilenet-v3 (w1.0), got those of mobilenet-v3-w1.2 (w1.2): "
        "use mobilenet-v3-w1.2"
    )


def test_another_family_is_named(resnet):
    assert "got those of resnet-50d" in refusal(convert, "mobilenet-v3", resnet)


@pytest.mark.parametrize(
    "name",
    [
        "first_conv.conv.weight",
        "blocks.7.conv.depth_conv.se.fc.expand.bias",
        "classifier.linear.bias",
    ],
)
def test_a_missing_tensor_is_named(mobilenet, name):
    rest = {key: tensor for key, tensor in mobilenet.items() if key != name}
    assert f"{name} is missing" in refusal(convert, "mobilenet-v3", rest)


def test_one_missing_matrix_is_named(mobilenet):
    rest = {k: t for k, t in mobilenet.items() if k != "blocks.3.conv.depth_conv.conv.5to3_matrix"}
    message = refusal(convert, "mobilenet-v3", rest)
    assert "blocks.3.conv.depth_conv.conv.5to3_matrix is missing" in message


@pytest.mark.parametrize(
    "name", ["blocks.21.conv.point_linear.conv.conv.weight", "head.bn.running_mean", "optimizer"]
)
def test_a_tensor_too_many_is_named(mobilenet, name):
    message = refusal(convert, "mobilenet-v3", mobilenet | {name: torch.zeros(3)})
    assert f"{name} is not one of them" in message


def test_the_same_weight_under_two_names_is_refused(mobilenet):
    twice = mobilenet | {"module.classifier.linear.bias": torch.zeros(1000)}
    assert "are the same weight" in refusal(convert, "mobilenet-v3", twice)


def test_a_wrong_shape_is_named(mobilenet):
    name = "blocks.5.conv.depth_conv.conv.conv.weight"
    wrong = mobilenet | {name: torch.zeros(144, 1, 5, 5)}
    message = refusal(convert, "mobilenet-v3", wrong)
    assert f"expected {name} of shape (144, 1, 7, 7), got (144, 1, 5, 5)" in message


def test_integers_are_refused(mobilenet):
    wrong = mobilenet | {"classifier.linear.bias": torch.zeros(1000, dtype=torch.int64)}
    assert "got torch.int64" in refusal(convert, "mobilenet-v3", wrong)


def test_unknown_spaces_are_refused(mobilenet):
    message = refusal(convert, "mobilenet-v2", mobilenet)
    assert message.startswith("unknown space with published weights 'mobilenet-v2'")
    assert "did you mean 'mobilenet-v3" in message
    assert "published weights" in refusal(convert, "mobilenet-digits", mobilenet)


# --- files ----------------------------------------------------------------------------------------

SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.num_batches_tracked": torch.tensor(3)}


def write(path, kind):
    if kind == "safetensors":
        save_file(SMALL, path)
    else:
        content = {"flat": SMALL, "nested": {"state_dict": SMALL, "epoch": 3}}
        old = kind.endswith("old")
        content = content[kind.removesuffix(" old")]
        torch.save(content, path, _use_new_zipfile_serialization=not old)


@pytest.mark.parametrize("kind", ["safetensors", "flat", "nested", "flat old", "nested old"])
def test_files_of_every_kind_are_read(tmp_path, kind):
    path = tmp_path / "weights"  # published files have no ending
    write(path, kind)
    found = read_published(path)
    assert found.keys() == SMALL.keys()
    assert all(torch.equal(found[name], SMALL[name]) for name in SMALL)
    assert read_published(str(path)).keys() == SMALL.keys()


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, new):
    path, marker = tmp_path / "weights.pth", tmp_path / "ran"
    content = {"state_dict": SMALL, "more": RunsCode(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    assert "would run code" in refusal(read_published, path)
    assert not marker.exists()


def test_numbers_that_are_not_finite_are_named(tmp_path):
    for bad in (float("nan"), float("inf")):
        path = tmp_path / "weights.pth"
        torch.save(SMALL | {"b.bias": torch.tensor([1.0, bad])}, path)
        assert "b.bias holds numbers that are not finite" in refusal(read_published, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "expected tensors by name, got list"),
        ({}, "expected tensors by name"),
        ({"state_dict": [1]}, "expected tensors by name in its state_dict"),
        ({"a": torch.zeros(2), "epoch": 3}, "got 'epoch': int"),
        ({3: torch.zeros(2)}, "got 3: Tensor"),
        ({"a": torch.eye(3).to_sparse()}, "a is sparse or quantised"),
    ],
    ids=str,
)
def test_files_of_other_things_are_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert message in refusal(read_published, path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04 not a zip", b"\x80\x02 not a pickle", b"\x80\x02", b"{}"],
)
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert str(path) in refusal(read_published, path)


def test_truncated_files_are_refused(tmp_path):
    for kind in ("safetensors", "flat", "flat old"):
        path = tmp_path / kind
        write(path, kind)
        whole = path.read_bytes()
        for size in (len(whole) // 3, len(whole) - 5):
            path.write_bytes(whole[:size])
            assert str(path) in refusal(read_published, path)


def test_files_that_are_not_there_are_refused(tmp_path):
    assert "cannot be read" in refusal(read_published, tmp_path / "nothing")
    assert "cannot be read" in refusal(read_published, tmp_path)

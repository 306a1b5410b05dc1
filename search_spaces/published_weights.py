"""Weights that others trained and published, under the names of our supernets.

Known are the supernets of once-for-all (arXiv:1908.09791): MobileNetV3 at widths 1.0 and 1.2, and
ResNet-50D.

    weights = convert("mobilenet-v3", read_published(path))
    supernet = Supernet(build_space("mobilenet-v3"), has_kernel_transform(weights))
    supernet.load_state_dict(weights)
"""

import re
from collections.abc import Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from search_spaces.catalogue import build_space
from search_spaces.errors import InputError, unknown_name
from search_spaces.supernet import Supernet

Tensors = dict[str, Tensor]

PUBLISHED = {"mobilenet-v3": "w1.0", "mobilenet-v3-w1.2": "w1.2", "resnet-50d": "w1.0"}
"""Spaces whose published weights are known: name -> their greatest width."""

STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
TORCH_FILES = (b"PK\x03\x04", b"\x80\x02")  # how files of torch begin, new and old

MOBILENET_BLOCK = {
    "expand.0": "inverted_bottleneck.conv",
    "expand.1": "inverted_bottleneck.bn",
    "depthwise": "depth_conv.conv",
    "depthwise_norm": "depth_conv.bn",
    "squeeze_excite.reduce": "depth_conv.se.fc.reduce",
    "squeeze_excite.expand": "depth_conv.se.fc.expand",
    "project": "point_linear.conv",
    "project_norm": "point_linear.bn",
}
RESNET_BLOCK = {
    "reduce.0": "conv1.conv",
    "reduce.1": "conv1.bn",
    "inner.0": "conv2.conv",
    "inner.1": "conv2.bn",
    "expand.0": "conv3.conv",
    "expand.1": "conv3.bn",
    "projection.0": "downsample.conv",
    "projection.1": "downsample.bn",
}
CONV_NORM = {"conv": "conv", "norm": "bn"}
MOBILENET_ENDS = {
    "stem": ("first_conv", CONV_NORM),
    "first_block": ("blocks.0.conv", MOBILENET_BLOCK),
    "final": ("final_expand_layer", CONV_NORM),
    "classifier": ("", {"hidden": "feature_mix_layer.conv", "logits": "classifier.linear"}),
}
RESNET_ENDS = {
    "stem": ("input_stem.0", CONV_NORM),
    "stem_residual": ("input_stem.1", {"conv": "conv", "norm": "conv.bn"}),
    "stem_output": ("input_stem.2", CONV_NORM),
    "classifier": ("", {"logits": "classifier.linear"}),
}
"""Slot -> the published module, and the names of its parts: ours -> theirs, without the nesting of
their dynamic layers.
"""


def read_published(path: Path | str) -> Tensors:
    """Read the tensors of a published file, by the names they have there.

    Args:
        path: a file of torch, whose tensors lie at the top or in "state_dict", or of safetensors.

    Raises:
        InputError: another file, one that would have to run code, one that does not hold tensors
            alone, or weights that are no finite numbers.
    """
    tensors = _read(Path(path))
    if not isinstance(tensors, Mapping) or not tensors:
        raise InputError(f"{path}: expected tensors by name, got {type(tensors).__name__}")
    inner = tensors.get("state_dict", tensors)
    if not isinstance(inner, Mapping) or not inner:
        raise InputError(f"{path}: expected tensors by name in its state_dict")
    for name, tensor in inner.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(
                f"{path}: expected tensors by name, got {name!r}: {type(tensor).__name__}"
            )
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise InputError(f"{path}: expected plain numbers, {name} is sparse or quantised")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: {name} holds numbers that are not finite: a damaged file?")
    return dict(inner)


def _read(path: Path) -> object:
    refused = f"{path}: not a file of weights"
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(TORCH_FILES):
            return torch.load(path, map_location="cpu", weights_only=True)
        return load_file(path)
    except UnpicklingError:
        raise InputError(
            f"{refused} alone: loading it would run code of its own; "
            "ask for a state_dict or a safetensors file"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError:
        raise InputError(f"{refused}: expected one of torch or safetensors") from None
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{refused}: {reason[:200]}") from None


def convert(space_name: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename published tensors to the parameters of our supernet.

    Names may have the older prefix of blocks (`mobile_inverted_conv`), one or two levels of their
    dynamic layers (`conv.weight` or `conv.conv.weight`) and "module." before them. Running
    statistics are left out: subnets are calibrated.

    Args:
        space_name: one of `PUBLISHED`.
        tensors: by published name.

    Returns:
        float32 tensors by the names of `Supernet(build_space(space_name)).named_parameters()`; with
        `kernel_transform=True` where the file has the matrices of kernels.

    Raises:
        InputError: weights of another space, or one that is missing, too many, or of another shape.
    """
    if space_name not in PUBLISHED:
        raise unknown_name("space with published weights", space_name, PUBLISHED)
    given: dict[str, str] = {}  # plain name -> name in the file
    for name in tensors:
        if given.setdefault(plain := _plain(name), name) != name:
            raise InputError(f"{name} and {given[plain]} are the same weight; expected one of them")
    fault = _first_fault(space_name, given, tensors)
    if fault:
        for other in PUBLISHED:
            if other != space_name and not _first_fault(other, given, tensors):
                raise InputError(
                    f"expected weights of {space_name} ({PUBLISHED[space_name]}), "
                    f"got those of {other} ({PUBLISHED[other]}): use {other}"
                )
        raise InputError(f"not the published weights of {space_name}: {fault}")
    return {
        ours: tensors[given[theirs]].detach().float().reshape(shape).clone()
        for ours, (theirs, shape) in _expected(space_name, _has_matrices(given)).items()
    }


def has_kernel_transform(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether weights of a supernet are for one with `kernel_transform`."""
    return any(".transform." in name for name in weights)


def _plain(name: str) -> str:
    """Return a published name in its shortest form, in which nested layers of one name are one."""
    while name.startswith("module."):
        name = name.removeprefix("module.")
    name = name.replace(".mobile_inverted_conv.", ".conv.")
    return ".".join(part for part, _ in groupby(name.split(".")))


def _has_matrices(names: Mapping[str, str]) -> bool:
    return any(name.endswith("_matrix") for name in names)


def _first_fault(
    space_name: str, given: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> str | None:
    """Say what is wrong with the tensors as weights of a space; None where nothing is."""
    expected = dict(_expected(space_name, _has_matrices(given)).values())
    for name, shape in expected.items():
        if name not in given:
            return f"{name} is missing"
        tensor = tensors[given[name]]
        trailing = (1, 1) if name.startswith("feature_mix_layer.") else ()  # a convolution there
        if tuple(tensor.shape) != (*shape, *trailing):
            found = tuple(tensor.shape)
            return f"expected {given[name]} of shape {(*shape, *trailing)}, got {found}"
        if not tensor.is_floating_point():
            return f"expected {given[name]} as floating-point numbers, got {tensor.dtype}"
    for name, original in given.items():
        is_statistic = name.endswith(STATISTICS)
        known = f"{name.rpartition('.')[0]}.weight" if is_statistic else name
        if known not in expected:
            return f"{original} is not one of them"
    return None


@cache
def _expected(space_name: str, kernel_transform: bool) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Return, for every parameter of our supernet, its published name (plain) and our shape."""
    space = build_space(space_name)
    is_resnet = space_name.startswith("resnet")
    blocks = [slot.name for slot in space.slots if re.fullmatch(r"stage\d+_block\d+", slot.name)]
    names = dict(RESNET_ENDS if is_resnet else MOBILENET_ENDS)
    for i, slot in enumerate(blocks):  # the fixed block of a MobileNet is their first
        names[slot] = (
            (f"blocks.{i}", RESNET_BLOCK)
            if is_resnet
            else (f"blocks.{i + 1}.conv", MOBILENET_BLOCK)
        )
    with torch.device("meta"):  # names and shapes alone
        supernet = Supernet(space, kernel_transform)
    found = {}
    for name, parameter in supernet.named_parameters():
        _, slot, group, path = name.split(".", 3)
        prefix, parts = names[slot]
        if group == "transform":  # from_7_to_5
            _, large, _, small = path.split("_")
            theirs = f"depth_conv.conv.{large}to{small}_matrix"
        else:
            part, _, last = path.rpartition(".")
            theirs = f"{parts[part]}.{last}"
        found[name] = (f"{prefix}.{theirs}".lstrip("."), tuple(parameter.shape))
    return found

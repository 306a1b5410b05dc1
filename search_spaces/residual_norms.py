"""The norms that end the branches of residual blocks."""

import torch

from search_spaces.layer_kinds.convolution import has_residual
from search_spaces.layer_spec import LayerSpec
from search_spaces.supernet import Supernet

LAST_NORMS = {
    "inverted_residual": "project_norm.weight",
    "bottleneck": "expand.1.weight",
    "basic_block": "second_norm.weight",
    "reduction_block": "conv_b.2.weight",
}
"""Kind -> weight of the norm after which the branch is added to its shortcut.

Not `residual_convolution`: between its norm and the sum is an activation, and where that is ReLU no
gradient would pass at 0. Not transformers: their norms are before the branches or after the sums.
"""


def zero_last_norms(supernet: Supernet) -> list[str]:
    """Set to 0 the weight of the last norm of every residual block, so that each begins as its
    shortcut alone (arXiv:1706.02677; of supernets BigNAS, arXiv:2003.11142).

    Slots in which some layer has no shortcut stay: nothing would pass through it.

    Returns:
        The names of the parameters set to 0; empty where the space has no such blocks.
    """
    names = []
    for slot, specs in supernet.slot_specs():
        kind = specs[0].kind
        if kind in LAST_NORMS and all(_has_shortcut(spec) for spec in specs):
            names.append(f"slots.{slot}.shared.{LAST_NORMS[kind]}")
    with torch.no_grad():
        for name in names:
            supernet.get_parameter(name).zero_()
    return names


def _has_shortcut(spec: LayerSpec) -> bool:
    return spec.kind != "inverted_residual" or bool(has_residual(spec.values))

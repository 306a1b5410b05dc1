"""Convolutions with the norms behind them folded in, for passes that only compare outputs."""

import copy
from collections import Counter
from typing import cast

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(subnet: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a calibrated subnet in which norms are part of the convolutions they follow.

    Outputs differ by rounding alone; the subnet stays as it is. Norms that follow something else
    (a pre-activation, a join) are kept.

    Args:
        subnet: in eval mode, with norm statistics.
    """
    result = copy.deepcopy(subnet)
    modules = dict(result.named_modules())
    calls = Counter(node.target for node in result.graph.nodes if node.op == "call_module")
    for node in result.graph.nodes:
        pair = _convolution_and_norm(node, modules)
        if pair is not None and all(calls[name] == 1 for name in pair):
            first, second = pair
            convolution = cast(nn.Conv2d, modules[first])
            result.set_submodule(
                first, fuse_conv_bn_eval(convolution, cast(nn.BatchNorm2d, modules[second]))
            )
            result.set_submodule(second, nn.Identity())
    return result


def _convolution_and_norm(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, str] | None:
    """Return the names of both where `node` is a norm that alone reads a convolution."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or len(source.users) > 1:
        return None
    if node.op != "call_module" or source.op != "call_module":
        return None
    first, second = str(source.target), str(node.target)
    if isinstance(modules[first], (nn.Conv1d, nn.Conv2d)) and isinstance(
        modules[second], _BatchNorm
    ):
        return first, second
    return None

"""Costs read off a traced module, knowing nothing of layer specs: the oracle of their formulas."""

import operator

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

BYTES = 4  # fp32


class _Recorder(fx.Interpreter):
    """Runs a traced module and keeps the bytes of every node's result."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.num_bytes: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node):
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.num_bytes[n] = result.numel() * BYTES
        return result


def _shares_first_input(module: fx.GraphModule, node: fx.Node) -> bool:
    """Norms, activations, sums and products write over their first input; flatten is a view."""
    if node.op == "call_function":
        return node.target in (operator.add, operator.mul)
    if node.op != "call_module":
        return node.op == "output"
    child = module.get_submodule(node.target)
    return (
        isinstance(child, (nn.BatchNorm2d, nn.Flatten))
        or child.__class__.__module__ == "torch.nn.modules.activation"
    )


def peak_activation_bytes(module: fx.GraphModule, inputs: torch.Tensor) -> int:
    """The most bytes alive at once, the input included; a tensor lives until its last use."""
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(inputs)
    nodes = list(module.graph.nodes)
    position = {node: i for i, node in enumerate(nodes)}
    storage: dict[fx.Node, fx.Node] = {}  # node -> the node that allocated its memory
    for node in nodes:
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        shares = source is not None and _shares_first_input(module, node)
        if shares and node.op != "output":
            assert recorder.num_bytes[node] == recorder.num_bytes[source]
            # nothing may be overwritten that a later node still reads
            assert max(position[user] for user in source.users) == position[node]
        storage[node] = storage[source] if shares else node
    last_use = {node: i for node, i in position.items() if storage[node] is node}
    for node in nodes:
        for user in (node, *node.users):
            last_use[storage[node]] = max(last_use[storage[node]], position[user])
    return max(
        sum(
            recorder.num_bytes[node] for node, end in last_use.items() if position[node] <= i <= end
        )
        for i in range(len(nodes))
    )


def counted_macs(module: nn.Module, inputs: torch.Tensor) -> int:
    """Half of the floating-point operations that torch counts."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def counted_params(module: nn.Module) -> int:
    """Number of all trainable numbers."""
    return sum(parameter.numel() for parameter in module.parameters())

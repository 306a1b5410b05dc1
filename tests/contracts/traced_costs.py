"""Costs read off a traced module, knowing nothing of layer specs: the oracle of their formulas."""

import operator

import torch
from torch import fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

BYTES_OF_NUMBER = {torch.int64: 8}  # all else is stated for fp32
SUMS_AND_PRODUCTS = {
    operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul,
}  # fmt: skip
NORMS = (_BatchNorm, nn.LayerNorm, nn.RMSNorm)
VIEW_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity)
VIEW_METHODS = {
    "flatten", "unflatten", "transpose", "permute", "unsqueeze", "squeeze", "select", "narrow",
    "reshape", "expand",
}  # fmt: skip
CASTS = {"type_as"}  # views where the type stays
VIEW_FUNCTIONS = {operator.getitem, torch.select, torch.flatten, torch.unflatten, torch.transpose}


class _Recorder(fx.Interpreter):
    """Runs a traced module and keeps the bytes of every node's result."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.num_bytes: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node):
        result = super().run_node(n)
        is_activation = isinstance(result, torch.Tensor) and n.op != "get_attr"
        size = BYTES_OF_NUMBER.get(result.dtype, 4) if is_activation else 0
        self.num_bytes[n] = result.numel() * size if is_activation else 0
        return result


def _is_view(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the result lies in the memory of the first input."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(node.target), VIEW_MODULES)
    return node.target in (VIEW_METHODS if node.op == "call_method" else VIEW_FUNCTIONS)


def _may_write_over(module: fx.GraphModule, node: fx.Node) -> bool:
    """Norms, activations, sums and products write over their first input if nobody needs it."""
    if node.op == "call_module":
        child = module.get_submodule(node.target)
        activation = child.__class__.__module__ == "torch.nn.modules.activation"
        return isinstance(child, NORMS) or activation
    return node.op == "call_function" and node.target in SUMS_AND_PRODUCTS


def peak_activation_bytes(module: fx.GraphModule, *inputs: torch.Tensor) -> int:
    """The most bytes alive at once, the inputs included; a tensor lives until its last use, the
    network's outputs to the end.
    """
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*inputs)
    nodes = list(module.graph.nodes)
    position = {node: i for i, node in enumerate(nodes)}
    storage: dict[fx.Node, fx.Node] = {}  # node -> the node that allocated its memory
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in nodes:
        storage[node] = node
        if node.all_input_nodes:
            first = storage[node.all_input_nodes[0]]
            readers = [position[user] for member in members[first] for user in member.users]
            last_read = max(readers) == position[node]
            fits = recorder.num_bytes[node] == recorder.num_bytes[first]
            writes_over = _may_write_over(module, node) and last_read and fits
            same_type = node.op == "call_method" and node.target in CASTS and fits
            if _is_view(module, node) or same_type or writes_over:
                storage[node] = first
        members.setdefault(storage[node], []).append(node)
    last_use = {
        owner: max(position[user] for member in group for user in (member, *member.users))
        for owner, group in members.items()
    }
    return max(
        sum(
            recorder.num_bytes[owner]
            for owner, end in last_use.items()
            if position[owner] <= i <= end and owner.op != "output"
        )
        for i in range(len(nodes))
    )


def counted_macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Half of the floating-point operations that torch counts; of fused attention on a CPU it
    counts none, so attention falls into its products.
    """
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        module(*inputs)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def counted_params(module: nn.Module) -> int:
    """Number of all trainable numbers."""
    return sum(parameter.numel() for parameter in module.parameters())


def traced_costs(module: fx.GraphModule, *inputs: torch.Tensor) -> dict[str, int]:
    """Return all costs by name, as `Costs.row` does."""
    return {
        "macs": counted_macs(module, *inputs),
        "num_params": counted_params(module),
        "activation_bytes": peak_activation_bytes(module, *inputs),
    }

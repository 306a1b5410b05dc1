"""Pools of windows."""

from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph


def _pair(size: int | tuple[int, int] | list[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _emit_average_pool(graph: Graph, call: Call) -> None:
    pool = call.module
    padding = _pair(pool.padding)
    if pool.divisor_override is not None:
        raise call.refuse("only averages, no other divisor")
    if pool.ceil_mode and any(padding) and pool.count_include_pad:
        raise call.refuse("what counts beyond the padding differs between runtimes")
    graph.add(
        "AveragePool",
        call.inputs,
        call.output,
        kernel_shape=_pair(pool.kernel_size),
        strides=_pair(pool.stride),
        pads=[*padding, *padding],
        ceil_mode=int(pool.ceil_mode),
        count_include_pad=int(pool.count_include_pad and any(padding)),
    )


def _emit_max_pool(graph: Graph, call: Call) -> None:
    pool = call.module
    padding = _pair(pool.padding)
    if pool.return_indices:
        raise call.refuse("only the maxima, not their positions")
    graph.add(
        "MaxPool",
        call.inputs,
        call.output,
        kernel_shape=_pair(pool.kernel_size),
        strides=_pair(pool.stride),
        pads=[*padding, *padding],
        dilations=_pair(pool.dilation),
        ceil_mode=int(pool.ceil_mode),
    )


POOL_MODULES: dict[type[nn.Module], Emitter] = {
    nn.AvgPool2d: _emit_average_pool,
    nn.MaxPool2d: _emit_max_pool,
}

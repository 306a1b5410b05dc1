"""How every operation of our plain modules becomes ONNX: one emitter each."""

from typing import Any

from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, UnknownOperationError
from hardware_profiles.onnx_operations.convolution import CONVOLUTION_MODULES
from hardware_profiles.onnx_operations.elementwise import (
    ELEMENTWISE_FUNCTIONS,
    ELEMENTWISE_METHODS,
    ELEMENTWISE_MODULES,
)
from hardware_profiles.onnx_operations.pools import POOL_MODULES
from hardware_profiles.onnx_operations.reductions import REDUCTION_METHODS, REDUCTION_MODULES
from hardware_profiles.onnx_operations.slices import SLICE_FUNCTIONS, SLICE_METHODS

MODULES: dict[type[nn.Module], Emitter] = {
    **CONVOLUTION_MODULES,
    **ELEMENTWISE_MODULES,
    **POOL_MODULES,
    **REDUCTION_MODULES,
}
FUNCTIONS: dict[Any, Emitter] = {
    **ELEMENTWISE_FUNCTIONS,
    **SLICE_FUNCTIONS,
}
METHODS: dict[str, Emitter] = {
    **ELEMENTWISE_METHODS,
    **REDUCTION_METHODS,
    **SLICE_METHODS,
}

__all__ = ["FUNCTIONS", "METHODS", "MODULES", "Call", "Emitter", "Graph", "UnknownOperationError"]

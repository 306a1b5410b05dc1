"""How every operation of plain modules becomes ONNX: one emitter each."""

from typing import Any

from torch import nn

from hardware_profiles.onnx_operations.activations import ACTIVATION_MODULES
from hardware_profiles.onnx_operations.attention import ATTENTION_FUNCTIONS, ATTENTION_MODULES
from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, UnknownOperationError
from hardware_profiles.onnx_operations.convolution import CONVOLUTION_MODULES
from hardware_profiles.onnx_operations.elementwise import ELEMENTWISE_FUNCTIONS, ELEMENTWISE_MODULES
from hardware_profiles.onnx_operations.joining import JOINING_FUNCTIONS, JOINING_METHODS
from hardware_profiles.onnx_operations.layout import LAYOUT_FUNCTIONS, LAYOUT_METHODS
from hardware_profiles.onnx_operations.norms import NORM_MODULES
from hardware_profiles.onnx_operations.pools import POOL_MODULES
from hardware_profiles.onnx_operations.reductions import REDUCTION_METHODS
from hardware_profiles.onnx_operations.resizing import RESIZING_MODULES
from hardware_profiles.onnx_operations.torch_operations import TORCH_OPERATIONS

MODULES: dict[type[nn.Module], Emitter] = {
    **ACTIVATION_MODULES,
    **ATTENTION_MODULES,
    **CONVOLUTION_MODULES,
    **ELEMENTWISE_MODULES,
    **NORM_MODULES,
    **POOL_MODULES,
    **RESIZING_MODULES,
}
FUNCTIONS: dict[Any, Emitter] = {
    **ATTENTION_FUNCTIONS,
    **ELEMENTWISE_FUNCTIONS,
    **JOINING_FUNCTIONS,
    **LAYOUT_FUNCTIONS,
}
METHODS: dict[str, Emitter] = {
    **JOINING_METHODS,
    **LAYOUT_METHODS,
    **REDUCTION_METHODS,
}

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "MODULES",
    "TORCH_OPERATIONS",
    "Call",
    "Emitter",
    "Graph",
    "UnknownOperationError",
]

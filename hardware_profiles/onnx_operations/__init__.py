"""How every operation of our plain modules becomes ONNX: one emitter each."""

from typing import Any

from torch import nn

from hardware_profiles.onnx_operations.attention import ATTENTION_FUNCTIONS, ATTENTION_MODULES
from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, UnknownOperationError
from hardware_profiles.onnx_operations.convolution import CONVOLUTION_MODULES
from hardware_profiles.onnx_operations.elementwise import (
    ELEMENTWISE_FUNCTIONS,
    ELEMENTWISE_METHODS,
    ELEMENTWISE_MODULES,
)
from hardware_profiles.onnx_operations.layout import LAYOUT_FUNCTIONS, LAYOUT_METHODS

MODULES: dict[type[nn.Module], Emitter] = {
    **CONVOLUTION_MODULES,
    **ELEMENTWISE_MODULES,
    **ATTENTION_MODULES,
}
FUNCTIONS: dict[Any, Emitter] = {
    **ELEMENTWISE_FUNCTIONS,
    **ATTENTION_FUNCTIONS,
    **LAYOUT_FUNCTIONS,
}
METHODS: dict[str, Emitter] = {**ELEMENTWISE_METHODS, **LAYOUT_METHODS}

__all__ = ["FUNCTIONS", "METHODS", "MODULES", "Call", "Emitter", "Graph", "UnknownOperationError"]

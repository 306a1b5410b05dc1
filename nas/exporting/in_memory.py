"""A subnet and its plain model file, in memory."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import fx

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.runtimes.runtime import Workload
from nas.exporting.graph import check_graph
from nas.subnet.evaluator import SubnetEvaluator
from search_spaces import Architecture
from search_spaces.layer_kind import TensorSpec


@dataclass(frozen=True)
class Exported:
    """A subnet with its model file in memory."""

    architecture: Architecture
    subnet: fx.GraphModule  # calibrated, eval mode
    model: bytes  # ONNX
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]

    @property
    def workload(self) -> Workload:
        """The subnet as something a runtime can time."""
        return self.workload_of(self.model)

    def workload_of(self, model: bytes) -> Workload:
        """The subnet, with another model file of it, as something a runtime can time."""
        return Workload(lambda: deepcopy(self.subnet), self.inputs, lambda: model)


def to_onnx(
    subnet: fx.GraphModule,
    architecture: Architecture,
    inputs: Mapping[str, TensorSpec],
    outputs: Sequence[str] = ("logits",),
) -> Exported:
    """Emit a calibrated subnet as checked ONNX."""
    metadata = {
        "space": architecture.space,
        "architecture_id": architecture.id,
        "architecture": json.dumps(dict(architecture.values)),
    }
    with torch.no_grad():
        model = onnx_model(subnet, inputs, metadata, outputs).SerializeToString()
    check_graph(model)
    return Exported(architecture, subnet, model, inputs, tuple(outputs))


def export_in_memory(evaluator: SubnetEvaluator, architecture: Architecture) -> Exported:
    """Extract, calibrate and emit one architecture."""
    subnet = evaluator.subnet(architecture)
    return to_onnx(subnet, architecture, evaluator.specs(architecture), evaluator.output_names)

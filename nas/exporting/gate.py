"""Supernet, subnet and file answer alike, or nothing leaves."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from hardware_profiles.runtimes.runtime import Workload
from nas.data import Inputs
from nas.exporting.manifest import MODEL_NAME
from nas.exporting.parity import Array, Parity, compare, gate, run_onnx
from nas.subnet.calibrate import batch_statistics
from nas.subnet.evaluator import SubnetEvaluator, run_in_batches
from nas.task import Outputs, as_tuple
from search_spaces import Architecture
from search_spaces.layer_kind import TensorSpec
from search_spaces.supernet import Supernet

PARITY_BATCH_SIZE = 64
NUM_PARITY_SAMPLES = 256
LEAST_FREE_SIZE = 4  # of what is tried on an axis of free size


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
        return Workload(lambda: deepcopy(self.subnet), self.inputs, lambda: self.model)


def check_parity(
    exported: Exported, supernet: Supernet, evaluator: SubnetEvaluator
) -> dict[str, Parity]:
    """Compare supernet, subnet and file on validation samples; where an axis of an input is of
    free size, subnet and file at another size too.

    Args:
        supernet: what the subnet was extracted from; of fine-tuned weights the network of one
            architecture that holds them.

    Raises:
        ParityError: one of them answers differently.
    """
    found = evaluator.inputs("validation", exported.architecture)
    inputs = tuple(one[:NUM_PARITY_SAMPLES] for one in found)
    classification = evaluator.task.classification
    batch = tuple(_at_least(one, 8)[:PARITY_BATCH_SIZE] for one in inputs)
    source = "supernet" if supernet.only is None else "fine-tuned network"
    parities = {source: supernet_parity(supernet, exported, batch, classification)}
    for size in (1, PARITY_BATCH_SIZE):
        parity = file_parity(exported, inputs, size, classification)
        parities[f"{MODEL_NAME} batch {size}"] = parity
    resized = other_sizes(inputs, exported.inputs.values())
    if resized is not None:
        parity = file_parity(exported, resized, PARITY_BATCH_SIZE, classification)
        parities[f"{MODEL_NAME} at another size"] = parity
    gate(list(parities.items()))
    return parities


def supernet_parity(
    supernet: Supernet, exported: Exported, inputs: Inputs, classification: bool = True
) -> Parity:
    """Compare supernet and extracted subnet, both on the statistics of one batch of at least 8.

    The subnet's norm statistics are restored afterwards.
    """
    assert len(inputs[0]) >= 8, "norms need a batch"
    subnet = exported.subnet
    state = {name: value.clone() for name, value in subnet.state_dict().items()}
    try:
        with batch_statistics(subnet), torch.no_grad():
            expected = supernet(inputs, exported.architecture)
            found = subnet(*inputs)
    finally:
        subnet.load_state_dict(state)
    names = exported.outputs
    return compare(named_arrays(names, found), named_arrays(names, expected), classification)


def file_parity(
    exported: Exported, inputs: Inputs, batch_size: int, classification: bool = True
) -> Parity:
    """Compare the ONNX file with the calibrated subnet in eval mode, in batches of `batch_size`."""
    expected = named_arrays(exported.outputs, run_in_batches(exported.subnet, inputs))
    arrays = named_arrays(tuple(exported.inputs), inputs)
    return compare(run_onnx(exported.model, arrays, batch_size), expected, classification)


def other_sizes(inputs: Inputs, specs: Iterable[TensorSpec]) -> Inputs | None:
    """Return the inputs cut to half along axes of free size; None where all sizes are fixed."""
    changed = False
    result = []
    for one, spec in zip(inputs, specs, strict=True):
        for position in spec.free:
            size = one.shape[position + 1]
            half = max(-(-size // 2), min(size - 1, LEAST_FREE_SIZE))
            one = one.narrow(position + 1, 0, half)
            changed = True
        result.append(one.contiguous())
    return tuple(result) if changed else None


def named_arrays(names: Iterable[str], tensors: Outputs) -> dict[str, Array]:
    """Return tensors as contiguous arrays by name."""
    pairs = zip(names, as_tuple(tensors), strict=True)
    return {name: one.detach().cpu().contiguous().numpy() for name, one in pairs}


def _at_least(samples: Tensor, n: int) -> Tensor:
    return samples if len(samples) >= n else torch.cat([samples] * n)

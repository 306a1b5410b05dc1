"""What torch's exporter writes where no emitter is at hand."""

import logging
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hardware_profiles import onnx_export
from hardware_profiles.onnx_graph import UnknownOperationError, onnx_model
from hardware_profiles.profile_device import SHAPES_KEY
from search_spaces import TensorSpec
from tests.contracts.inputs import one_input, random_inputs
from tests.contracts.onnx_parity import assert_equal_outputs


class TwoInputs(nn.Module):
    """Runs a function of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, first, second):
        return self.function(first, second)


class OneInput(nn.Module):
    """Runs a function and scales its result by a weight."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, first):
        result = self.function(first)
        return result if isinstance(result, tuple) else result * self.scale


def assert_same(module, inputs, outputs=("logits",), batches=(1, 2, 5)):
    """Export, compare answers; return the model."""
    model = onnx_model(module.eval(), inputs, {"space": "digits@1"}, outputs)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [value.name for value in model.graph.input] == list(inputs)
    assert [value.name for value in model.graph.output] == list(outputs)
    for value in model.graph.input:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    given = [random_inputs(inputs, batch, seed=batch, vocabulary=9) for batch in batches]
    assert_equal_outputs(model, module, given)
    return model


FUNCTIONS = {
    "running sums": lambda x: torch.cumsum(x, 2),
    "greatest first": lambda x: torch.sort(x, 2, descending=True)[0],
    "reductions": lambda x: torch.var(x, (2, 3)) + torch.logsumexp(x, (2, 3)) + x.amax((2, 3)),
    "reflections": lambda x: nn.functional.pad(x, (1, 2, 1, 0), mode="reflect"),
    "cubic sampling": lambda x: nn.functional.interpolate(
        x, scale_factor=2, mode="bicubic", align_corners=False
    ),
    "parts": lambda x: x.chunk(2, 1)[1] - x.chunk(2, 1)[0],
    "unequal parts": lambda x: x.split([1, 3], 1)[1].flip(2),
    "windows": lambda x: nn.functional.unfold(x, 2),
    "norms of images": lambda x: nn.functional.instance_norm(x),
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "sizes of the batch": lambda x: x.reshape(x.shape[0], -1, 2).roll(1, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_without_emitters(name):
    assert_same(OneInput(FUNCTIONS[name]), one_input(4, 6, 8))


def test_several_inputs_and_outputs():
    module = TwoInputs(lambda x, ids: (torch.cumsum(x, 1), ids.float().cumsum(1) + x))
    inputs = {"features": TensorSpec((5,)), "ids": TensorSpec((5,), "int64")}
    assert_same(module, inputs, ("sums", "other"))


def test_free_dimensions_stay_free():
    module = OneInput(lambda x: torch.cumsum(x, 2))
    inputs = {"input": TensorSpec((3, 20), free=(1,))}
    model = assert_same(module, inputs)
    assert SHAPES_KEY in {entry.key for entry in model.metadata_props}
    longer = random_inputs({"input": TensorSpec((3, 33))}, 2, seed=0)
    assert_equal_outputs(model, module, [longer])


def test_files_hold_nothing_of_their_making():
    model = assert_same(OneInput(FUNCTIONS["reductions"]), one_input(4, 6, 8))
    text = model.SerializeToString()
    assert b".py" not in text
    assert b"stack_trace" not in text
    assert {entry.key for entry in model.metadata_props} == {"space"}
    assert not any(node.metadata_props for node in model.graph.node)


def test_modules_in_training_mode_are_exported_in_eval_mode_and_stay():
    module = nn.Sequential(nn.BatchNorm2d(4), nn.PReLU(), nn.Dropout(), nn.CELU()).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = onnx_model(module, one_input(4, 6, 8))
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert_equal_outputs(model, module.eval(), [random_inputs(one_input(4, 6, 8), 3, seed=0)])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x.sum() > 0 else torch.cumsum(x, 1),
        lambda x: torch.cumsum(x, 1) + torch.rand_like(x),
        lambda x: torch.cumsum(x.reshape(2, 3), 1),  # two samples, whatever the batch
        lambda x: (torch.cumsum(x, 1), x),  # not one
    ],
)
def test_what_no_file_can_say_is_refused(function):
    with pytest.raises(UnknownOperationError, match="torch's exporter"):
        onnx_model(OneInput(function), one_input(3))


def test_files_that_answer_otherwise_are_refused(monkeypatch):
    real = torch.onnx.export

    def slightly_wrong(*arguments, **settings):
        program = real(*arguments, **settings)
        for tensor in program.model.graph.initializers.values():
            if tensor.name == "scale":
                import onnx_ir

                tensor.const_value = onnx_ir.tensor(np.array(1.51, dtype=np.float32))
        return program

    monkeypatch.setattr(torch.onnx, "export", slightly_wrong)
    with pytest.raises(UnknownOperationError, match="answers otherwise"):
        onnx_model(OneInput(FUNCTIONS["running sums"]), one_input(4, 6, 8))


def test_a_missing_exporter_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UnknownOperationError, match="onnxscript"):
        onnx_model(OneInput(FUNCTIONS["running sums"]), one_input(4, 6, 8))


def test_nothing_is_printed_and_loggers_stay_as_they_were(capfd, caplog):
    levels = [logging.getLogger(name).level for name in onnx_export.LOGGERS]
    onnx_model(OneInput(FUNCTIONS["reductions"]), one_input(4, 6, 8))
    assert capfd.readouterr() == ("", "")
    assert [logging.getLogger(name).level for name in onnx_export.LOGGERS] == levels


def test_emitters_load_no_exporter():
    code = (
        "import sys; from hardware_profiles.onnx_graph import onnx_model; "
        "assert not {'onnxscript', 'hardware_profiles.onnx_export'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

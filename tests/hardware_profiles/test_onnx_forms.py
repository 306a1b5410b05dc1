"""Sizes of tensors, found without numbers."""

import torch
from torch import fx, nn

from hardware_profiles.onnx_forms import Forms
from search_spaces import TensorSpec


def forms(module, inputs):
    traced = fx.symbolic_trace(module)
    found = Forms(traced, inputs)
    return {node.name: found.of(node) for node in traced.graph.nodes}


def test_what_the_batch_and_free_axes_decide_is_unknown():
    module = nn.Sequential(nn.Conv1d(3, 4, 3, stride=2), nn.Flatten(0, 1))
    found = forms(module, {"input": TensorSpec((3, 9), free=(1,))})
    assert found["input_1"].sizes == (None, 3, None)
    assert found["_0"].sizes == (None, 4, None)
    assert found["_1"].sizes == (None, None)
    found = forms(module, {"input": TensorSpec((3, 9))})
    assert found["_1"].sizes == (None, 4)
    assert found["_1"].dtype == torch.float32


def test_weights_and_types():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(5, 2))

        def forward(self, ids):
            return self.table[ids], ids.size(1)

    found = forms(Rows(), {"ids": TensorSpec((4,), "int64")})
    assert found["ids"].dtype == torch.int64
    assert found["table"].sizes == (5, 2)
    assert found["getitem"].sizes == (None, 4, 2)
    assert found["size"] is None


def test_networks_that_cannot_be_run_have_no_forms():
    found = forms(nn.Sequential(nn.Linear(3, 4)), {"input": TensorSpec((5,))})
    assert set(found.values()) == {None}


def test_the_network_stays_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert forms(module, {"input": TensorSpec((3, 4, 4))})["_1"].sizes == (None, 4, 4, 4)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)

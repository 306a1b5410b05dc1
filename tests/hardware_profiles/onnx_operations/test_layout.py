"""Changes of shape, order and type, parts and means: ONNX Runtime against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import InputError, TensorSpec

SHAPE = (4, 6, 2)


class Calls(nn.Module):
    """Runs a function of the input and of a table of weights."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.table = nn.Parameter(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))

    def forward(self, inputs):
        return self.function(inputs, self.table)


RIGHT = {
    "flatten": lambda x, _: x.flatten(1),
    "flatten later axes": lambda x, _: x.flatten(2),
    "flatten to a stated end": lambda x, _: x.flatten(start_dim=2, end_dim=-1),
    "unflatten": lambda x, _: x.flatten(2).unflatten(2, (3, 4)),
    "unflatten by name": lambda x, _: x.flatten(1).unflatten(dim=1, sizes=(8, 6)),
    "permute": lambda x, _: x.permute(0, 2, 3, 1),
    "permute by a tuple": lambda x, _: x.permute((0, 3, 1, 2)),
    "unsqueeze": lambda x, _: x.unsqueeze(1).unsqueeze(-1),
    "first": lambda x, _: x[:, 0],
    "last": lambda x, _: x[:, :, -1],
    "from": lambda x, _: x[:, 1:],
    "until": lambda x, _: x[:, :, :-2],
    "every second": lambda x, _: x[:, :, 1::2],
    "several at once": lambda x, _: x[:, 3, 1:4, 0],
    "select": lambda x, _: x.select(2, 5),
    "all": lambda x, _: x[:],
    "rows of weights": lambda x, table: x + table[:6] * table[7],
    "one row of weights": lambda x, table: x * table[-1],
    "mean": lambda x, _: x.mean(1),
    "mean of axes": lambda x, _: x.mean(dim=(1, 2), keepdim=True),
    "pad": lambda x, _: F.pad(x, (1, 2, 0, 3, 4, 0, 0, 0)),
    "pad by name": lambda x, _: F.pad(x, (0, 0, 1, 0, 0, 0, 0, 0), mode="constant", value=0.0),
    "pad of one axis": lambda x, _: F.pad(x, (1, 0)),
    "pad by ones": lambda x, _: F.pad(x, (1, 0, 0, 0), value=1.0),
    "pad by less than nothing": lambda x, _: F.pad(x, (-1, 2, -1, -2), "constant", -3.5),
    "reshape": lambda x, _: x.reshape(-1, 3, 16),
    "reshape into the batch": lambda x, _: x.reshape(-1, 2, 6),
    "view": lambda x, _: x.view((-1, 8, 6)),
    "reshape by the batch": lambda x, _: x.reshape(x.size(0), 12, -1),
    "reshape by several sizes": lambda x, _: x.reshape(x.size(0), x.size(1), 2 * 6),
    "expand": lambda x, table: table[:6].unsqueeze(0).expand(4, -1, 2) + x,
    "expand by the batch": lambda x, table: table[0].reshape(1, 2).expand(x.size(0), 2),
    "expand by the batch and more": lambda x, table: table.reshape(1, 8, 1, 2).expand(
        x.size(0), -1, 5, 2
    ),
    "expand inside": lambda x, _: x.narrow(2, 0, 1).expand(-1, 4, 3, 2),
    "permute from the end": lambda x, _: x.permute(0, -1, 1, 2),
    "transpose": lambda x, _: x.transpose(1, -1).contiguous(),
    "narrow": lambda x, _: x.narrow(2, 1, 4).narrow(-1, 1, 1),
    "select from the end": lambda x, _: x.select(-2, -1),
    "sum": lambda x, _: x.sum((2, -1), keepdim=True),
    "product of matrices": lambda x, table: torch.matmul(table, x.transpose(2, 3)),
    "quotients": lambda x, table: (x / 3 + 2 / (x * x + 1)) / (table[:6] * table[:6] + 1),
    "to": lambda x, _: x.to(torch.float32) * 2,
    "type as": lambda x, table: x.type_as(table),
}  # fmt: skip

WRONG = {
    "flatten the batch": lambda x, _: x.flatten(0),
    "flatten everything": lambda x, _: x.flatten(),
    "flatten to an axis": lambda x, _: x.flatten(1, 2),
    "unflatten from the end": lambda x, _: x.unflatten(-1, (1, 2)),
    "backwards": lambda x, _: x.flip(1),
    "new axis": lambda x, _: x[:, None],
    "ellipsis": lambda x, _: x[..., 0],
    "list of positions": lambda x, _: x[:, [0, 2]],
    "by a tensor": lambda x, table: x[table],
    "mean of all": lambda x, _: x.mean(),
    "pad with reflections": lambda x, _: F.pad(x, (1, 0, 0, 0), mode="reflect"),
    "pad with copies": lambda x, _: F.pad(x, (1, 0, 0, 0), "replicate"),
    "narrow from the end": lambda x, _: x.narrow(1, -2, 2),
    "all sizes": lambda x, _: x.reshape(x.size()),
    "reshape to nothing": lambda x, _: x.reshape(0, 2),
    "half of a size": lambda x, _: x.reshape(x.size(0), x.size(1) // 2, -1),
    "twice a size": lambda x, _: x.reshape(x.size(0) * 2, -1),
    "to whole numbers": lambda x, _: x.to(torch.int64),
    "to a device": lambda x, _: x.to("cpu"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_computes_the_same(name):
    module = Calls(RIGHT[name]).eval()
    session = onnx_session(emitted_model(module, {"input": TensorSpec(SHAPE)}).SerializeToString())
    for batch in (1, 3):
        inputs = torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = module(inputs).numpy()
        (found,) = session.run(None, {"input": inputs.numpy()})
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WRONG)
def test_what_would_be_a_guess_is_refused(name):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(Calls(WRONG[name]).eval(), {"input": TensorSpec(SHAPE)})


def test_whole_numbers_become_floats():
    module = Calls(lambda ids, table: (ids.to(torch.float32) - 1.0) * 5.0)
    model = emitted_model(module, {"mask": TensorSpec((4,), "int64")})
    inputs = torch.randint(-3, 9, (2, 4), generator=torch.Generator().manual_seed(0))
    (found,) = onnx_session(model.SerializeToString()).run(None, {"mask": inputs.numpy()})
    np.testing.assert_array_equal(found, 5 * (inputs.numpy() - 1))


def test_files_with_casts_can_be_made_half_precision():
    pytest.importorskip("onnx")
    from hardware_profiles.runtimes.tensorrt import in_half_precision

    module = Calls(lambda ids, table: (ids.to(torch.float32) - 1.0).unsqueeze(2) * table[0])
    model = emitted_model(module, {"mask": TensorSpec((4,), "int64")}).SerializeToString()
    try:
        half = in_half_precision(model)
    except InputError as error:
        pytest.fail(str(error))
    (found,) = onnx_session(half).run(None, {"mask": np.array([[0, 1, 2, 3]])})
    assert found.dtype == np.float16

"""Operations of torch by their own names: ONNX Runtime against torch."""

import pytest
import torch
from torch import nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model
from hardware_profiles.onnx_operations import TORCH_OPERATIONS
from search_spaces import TensorSpec
from tests.contracts.inputs import one_input
from tests.contracts.onnx_parity import assert_emitted

aten = torch.ops.aten
SHAPE = (4, 6, 2)


class Calls(nn.Module):
    """Runs a function of the inputs and of some weights."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.slopes = nn.Parameter(torch.tensor([0.1, -0.3, 0.6, 1.5]))

    def forward(self, inputs):
        return self.function(inputs, self.slopes)


def positive(x):
    return x * x + 0.1


def inside(x):
    return torch.ops.aten.tanh.default(x) * 0.9


EVERYWHERE = (
    "abs", "atan", "asinh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "neg", "relu",
    "round", "sigmoid", "sign", "sin", "sinh", "tan", "tanh", "selu", "hardswish", "silu", "mish",
    "square", "elu", "celu", "leaky_relu", "hardtanh", "log_sigmoid",
)  # fmt: skip
POSITIVE = ("log", "log2", "log10", "sqrt", "rsqrt", "reciprocal")


def of(name, prepare=lambda x: x):
    function = getattr(aten, name).default
    return lambda x, _: function(prepare(x))


RIGHT = {
    **{name: of(name) for name in EVERYWHERE},
    **{name: of(name, positive) for name in POSITIVE},
    **{name: of(name, inside) for name in ("asin", "acos", "atanh")},
    "acosh": lambda x, _: aten.acosh.default(positive(x) + 1.0),
    "elu by settings": lambda x, _: aten.elu.default(x, 0.3),
    "celu by settings": lambda x, _: aten.celu.default(x, alpha=0.3),
    "leaky relu by settings": lambda x, _: aten.leaky_relu.default(x, 0.3),
    "hardtanh by settings": lambda x, _: aten.hardtanh.default(x, -0.5, 0.2),
    "clamp": lambda x, _: aten.clamp.default(x, -0.5, 0.25),
    "clamp from below": lambda x, _: aten.clamp.default(x, 0.5),
    "clamp from above": lambda x, _: aten.clamp.default(x, max=0.5),
    "clamp by nothing inside": lambda x, _: aten.clamp.default(x, 1.0, -1.0) + x,
    "clamp by tensors": lambda x, _: aten.clamp.Tensor(x, inside(x), positive(x)),
    "clamp min": lambda x, _: aten.clamp_min.default(x, 0.1),
    "clamp max": lambda x, _: aten.clamp_max.default(x, 0.1),
    "sum": lambda x, _: aten.add.Tensor(x, positive(x)),
    "weighted sum": lambda x, _: aten.add.Tensor(x, positive(x), alpha=3),
    "sum with a number": lambda x, _: aten.add.Scalar(x, 2, 3),
    "difference": lambda x, _: aten.sub.Tensor(x, positive(x), alpha=0.5),
    "difference with a number": lambda x, _: aten.sub.Scalar(x, 2),
    "reversed difference": lambda x, _: aten.rsub.Scalar(x, 1.0),
    "weighted reversed difference": lambda x, _: aten.rsub.Scalar(x, 1.0, 4.0),
    "reversed difference of tensors": lambda x, _: aten.rsub.Tensor(x, positive(x), alpha=2),
    "product": lambda x, _: aten.mul.Tensor(x, x),
    "product with a number": lambda x, _: aten.mul.Scalar(x, -2),
    "quotient": lambda x, _: aten.div.Tensor(x, positive(x)),
    "quotient with a number": lambda x, _: aten.div.Scalar(x, 3),
    "maximum": lambda x, _: aten.maximum.default(x, inside(x)),
    "minimum": lambda x, _: aten.minimum.default(x, inside(x)),
    "other maximum": lambda x, _: aten.max.other(x, inside(x)),
    "power": lambda x, _: aten.pow.Tensor_Scalar(x, 3),
    "root": lambda x, _: aten.pow.Tensor_Scalar(positive(x), -0.3),
    "power of tensors": lambda x, _: aten.pow.Tensor_Tensor(positive(x), x),
    "power of a number": lambda x, _: aten.pow.Scalar(1.7, x),
    "where": lambda x, _: aten.where.self(aten.gt.Scalar(x, 0.3), x, positive(x)),
    "where with numbers": lambda x, _: aten.where.ScalarOther(aten.le.Tensor(x, x), x, 2.0),
    "where not": lambda x, _: aten.where.ScalarSelf(aten.lt.Scalar(x, 0), 1.0, x),
    "where at least": lambda x, _: aten.where.self(aten.ge.Scalar(x, 0), inside(x), x),
    "prelu": lambda x, slopes: aten.prelu.default(x, slopes),
    "glu": lambda x, _: aten.glu.default(x),
    "glu of channels": lambda x, _: aten.glu.default(x, 1),
    "softmax": lambda x, _: aten.softmax.int(x, 2),
    "log softmax": lambda x, _: aten.log_softmax.int(x, -1),
    "greatest": lambda x, _: aten.amax.default(x, [1, -1], True),
    "least": lambda x, _: aten.amin.default(x, [2]),
    "pixel shuffle": lambda x, _: aten.pixel_shuffle.default(x, 2),
    "stack": lambda x, _: aten.stack.default([x, positive(x)], 1),
    "stack at the end": lambda x, _: aten.stack.default([x, inside(x), x], -1),
}

WRONG = {
    "scaled elu": lambda x, _: aten.elu.default(x, 1.0, 2.0),
    "rounding quotient": lambda x, _: aten.div.Tensor_mode(x, x, rounding_mode="floor"),
    "digits": lambda x, _: aten.round.decimals(x, decimals=2),
    "unknown": lambda x, _: aten.cumsum.default(x, 1),
    "greatest of all": lambda x, _: aten.amax.default(x),
    "chosen by numbers": lambda x, _: aten.where.self(aten.abs.default(x), x, x),
    "near zero": lambda x, _: aten.expm1.default(x),
}


@pytest.mark.parametrize("name", RIGHT)
def test_computes_the_same(name):
    assert_emitted(Calls(RIGHT[name]), SHAPE)


@pytest.mark.parametrize("name", WRONG)
def test_what_would_be_a_guess_is_refused(name):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(Calls(WRONG[name]), one_input(*SHAPE))


@pytest.mark.parametrize(
    "function",
    [
        lambda ids, _: aten.exp.default(ids),
        lambda ids, _: aten.div.Tensor(ids, 2),
        lambda ids, _: ids / 2,
        lambda ids, _: aten.pow.Tensor_Scalar(ids, 2) * 1.0,
        lambda ids, slopes: aten.where.self(ids, slopes, slopes),
    ],
)
def test_whole_numbers_are_refused(function):
    with pytest.raises(UnknownOperationError, match="no ONNX emission"):
        emitted_model(Calls(function), {"ids": TensorSpec((4,), "int64")})


def test_all_names_are_of_operations():
    for name in TORCH_OPERATIONS:
        _, operation, overload = name.split(".")
        assert isinstance(getattr(getattr(aten, operation), overload), torch._ops.OpOverload)


def test_slopes_of_channels_alone():
    assert_emitted(Calls(lambda x, slopes: aten.prelu.default(x, slopes)), (4,))
    assert_emitted(Calls(lambda x, slopes: aten.prelu.default(x, slopes[:1])), (3, 5))

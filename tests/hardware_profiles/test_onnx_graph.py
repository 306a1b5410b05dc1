"""Emitted graphs, run by ONNX Runtime, against the torch modules they were made of."""

import contextlib
import json
import operator
from functools import partial

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import fx, nn

from hardware_profiles.onnx_graph import UnknownOperationError, emitted_model, onnx_model
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec
from search_spaces.layer_modules import layer_module
from search_spaces.supernet import Supernet
from tests.contracts.cached_spaces import cached_space
from tests.contracts.inputs import one_input, random_images
from tests.contracts.onnx_parity import (
    assert_equal_outputs,
    assert_same_in_onnx,
    operations,
    with_statistics,
)
from tests.contracts.supernet_contract import randomise

SHAPE = (3, 8, 6)  # height is not width
MANY_LAYER_SPECS = 300  # a space with more is tried on few architectures


class Calls(nn.Module):
    """Runs `function(self, inputs)` on named submodules."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs):
        return self.function(self, inputs)


MOBILENETS = ("mobilenet-cifar", "mobilenet-digits", "mobilenet-v3")


class TwoInputs(nn.Module):
    def forward(self, first, second):
        return first + second


def randomized(module, shape=SHAPE):
    """Random weights and norm statistics, in eval mode."""
    randomise(module, seed=0)
    return with_statistics(module, partial(random_images, shape=shape))


def assert_same(module, shape=SHAPE):
    """Compare on images of different brightness and contrast; return the ONNX model."""
    return assert_same_in_onnx(module, one_input(*shape), partial(random_images, shape=shape))


def convolution(*arguments, **settings):
    return nn.Conv2d(3, 6, 3, *arguments, **settings)


# --- subnets and layers ---------------------------------------------------------------------------


def subnets(name):
    """(subnet, input shape) of some architectures: the smallest, the largest, random ones."""
    space = cached_space(name)
    few = len(space.layers.specs) > MANY_LAYER_SPECS
    population = np.concatenate(
        [space.smallest(), space.largest(), space.sample(1 if few else 5, np.random.default_rng(0))]
    )
    names = [dimension.name for dimension in space.dimensions]
    if few and "resolution" in names:
        population[:, names.index("resolution")] = 0
    supernet = Supernet(space)
    for genome in population:
        architecture = space.decode(genome)
        input_shape = supernet.inputs(architecture)["input"].shape
        subnet = randomized(supernet.extract(architecture), input_shape)
        yield space.layers.costs(genome[None]), subnet, input_shape


def counted_macs(model):
    """Multiply-accumulates read off the shapes in the graph, knowing nothing of the space."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*inferred.graph.value_info, *inferred.graph.output]
    }
    weights = {tensor.name: tensor.dims for tensor in inferred.graph.initializer}
    macs = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            _, _, height, width = shapes[node.output[0]]
            macs += height * width * int(np.prod(weights[node.input[1]]))
        elif node.op_type == "MatMul":
            macs += int(np.prod(weights[node.input[1]]))
    return macs


@pytest.mark.parametrize("name", MOBILENETS)
def test_subnets_of_every_space_compute_the_same(name):
    for costs, subnet, input_shape in subnets(name):
        model = assert_same(subnet, input_shape)
        assert "BatchNormalization" not in operations(model)  # all of them follow convolutions
        assert counted_macs(model) == costs.macs[0]


KINDS = ("classifier", "conv_norm", "inverted_residual")  # the others have files of their own


def specs_by_kind():
    """Some distinct layers of each kind, the cheapest and the dearest among them."""
    rng = np.random.default_rng(0)
    chosen = {}
    for name in MOBILENETS:
        grid = cached_space(name).layers
        order = np.argsort(grid.spec_costs[1:, 0], kind="stable")
        for kind in KINDS:
            ids = [i for i in order if grid.specs[i].kind == kind]
            ids = [*ids[:1], *ids[-1:], *rng.permutation(ids).astype(int)[:6]]
            chosen.setdefault(kind, []).extend(grid.specs[i] for i in ids)
    return {kind: list(dict.fromkeys(specs)) for kind, specs in chosen.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_alone_computes_the_same(kind):
    specs = specs_by_kind()[kind]
    assert specs, f"no space of the catalogue has a {kind}"
    for spec in specs:
        shape = spec.inputs[0].shape
        assert_same(randomized(layer_module(spec), shape), shape)


# --- convolutions and norms -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"stride": 2},
        {"stride": (1, 2), "padding": (2, 1)},
        {"dilation": 2, "padding": 2},
        {"dilation": (2, 1)},
        {"groups": 3, "padding": 1},
        {"groups": 3, "bias": False, "stride": 2, "dilation": (1, 2), "padding": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("normed", [False, True], ids=["alone", "normed"])
def test_convolutions(settings, normed):
    layers = [convolution(**settings), *([nn.BatchNorm2d(6)] if normed else [])]
    model = assert_same(randomized(nn.Sequential(*layers)))
    assert operations(model) == ["Conv"]


@pytest.mark.parametrize("kernel", [(1, 1), (1, 5), (4, 2)])
def test_kernels(kernel):
    assert_same(nn.Sequential(nn.Conv2d(3, 4, kernel, padding=(1, 2))).eval())


def test_norm_alone_stays_a_norm():
    model = assert_same(randomized(nn.Sequential(nn.BatchNorm2d(3, eps=0.05))))
    assert operations(model) == ["BatchNormalization"]


def test_norm_before_a_convolution_or_after_an_activation_is_not_folded():
    module = nn.Sequential(
        nn.BatchNorm2d(3), convolution(), nn.ReLU(), nn.BatchNorm2d(6, eps=0.01), nn.Hardswish()
    )
    model = assert_same(randomized(module))
    assert operations(model) == [
        "BatchNormalization", "Conv", "Relu", "BatchNormalization", "HardSwish",
    ]  # fmt: skip


def test_second_norm_in_a_row_is_not_folded():
    module = randomized(nn.Sequential(convolution(), nn.BatchNorm2d(6), nn.BatchNorm2d(6)))
    assert operations(assert_same(module)) == ["Conv", "BatchNormalization"]


def test_folding_uses_the_epsilon_of_the_norm():
    module = randomized(nn.Sequential(convolution(), nn.BatchNorm2d(6, eps=0.5)))
    assert_same(module)


def test_convolution_with_two_readers_is_not_folded():
    def function(self, inputs):
        hidden = self.conv(inputs)
        return hidden + self.norm(hidden)

    module = randomized(Calls(function, conv=convolution(), norm=nn.BatchNorm2d(6)))
    assert operations(assert_same(module)) == ["Conv", "BatchNormalization", "Add"]


def test_convolution_read_by_two_norms_is_not_folded():
    def function(self, inputs):
        hidden = self.conv(inputs)
        return self.first(hidden) * self.second(hidden)

    module = Calls(function, conv=convolution(), first=nn.BatchNorm2d(6), second=nn.BatchNorm2d(6))
    model = assert_same(randomized(module))
    assert operations(model).count("BatchNormalization") == 2


def test_convolution_used_twice_is_folded_for_each_use():
    def function(self, inputs):
        hidden = self.first(self.conv(inputs))
        return self.second(self.conv(hidden)) + self.conv(inputs)

    conv = nn.Conv2d(3, 3, 3, padding=1)
    module = Calls(function, conv=conv, first=nn.BatchNorm2d(3), second=nn.BatchNorm2d(3))
    assert_same(randomized(module))


# --- the other operations -------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_linear(bias):
    module = nn.Sequential(
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(3, 4, bias=False), nn.ReLU(),
        nn.Linear(4, 7, bias=bias),
    )  # fmt: skip
    model = assert_same(randomized(module))
    (output,) = model.graph.output
    assert [dimension.dim_value for dimension in output.type.tensor_type.shape.dim[1:]] == [7]


def test_flatten_keeps_the_order_of_elements():
    size = int(np.prod(SHAPE))
    assert_same(nn.Sequential(nn.Flatten(), nn.Linear(size, 5)).eval())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardswish, nn.Hardsigmoid, nn.Identity])
def test_activations_over_their_whole_range(activation):
    # random numbers seldom reach the flat parts beyond 3
    module = nn.Sequential(nn.Conv2d(3, 3, 1), activation())
    with torch.no_grad():
        module[0].weight.copy_(8 * torch.eye(3)[:, :, None, None])
        module[0].bias.zero_()
    assert_same(module.eval())


@pytest.mark.parametrize(
    "function",
    [operator.add, operator.mul, torch.add, torch.mul],
    ids=["operator.add", "operator.mul", "torch.add", "torch.mul"],
)
def test_sums_and_products_broadcast(function):
    def whole(self, inputs):
        return function(self.conv(inputs), self.gate(self.pool(inputs)))

    module = Calls(
        whole, conv=nn.Conv2d(3, 3, 1), gate=nn.Conv2d(3, 3, 1), pool=nn.AdaptiveAvgPool2d(1)
    )
    assert_same(module.eval())


@pytest.mark.parametrize("name", ["input", "logits", "output", "batch", "conv_out", "x"])
def test_submodules_may_have_any_name(name):
    module = nn.Sequential()
    module.add_module(name, convolution())
    module.add_module("conv", nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()))
    model = assert_same(randomized(module))
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits"]


def test_traced_and_plain_modules_give_the_same_file():
    plain = randomized(nn.Sequential(convolution(), nn.BatchNorm2d(6), nn.ReLU()))
    traced = fx.symbolic_trace(plain)
    assert onnx_model(traced, one_input(*SHAPE)).SerializeToString() == (
        onnx_model(plain, one_input(*SHAPE)).SerializeToString()
    )


# --- the file -------------------------------------------------------------------------------------


@pytest.fixture
def small_net():
    return randomized(
        nn.Sequential(
            convolution(bias=False), nn.BatchNorm2d(6), nn.Hardswish(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(6, 4),
        )
    )  # fmt: skip


def test_versions_that_old_runtimes_load(small_net):
    model = onnx_model(small_net, one_input(*SHAPE))
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


def test_names_and_shapes_of_input_and_output(small_net):
    graph = onnx_model(small_net, one_input(*SHAPE)).graph
    (source,), (result,) = graph.input, graph.output
    assert (source.name, result.name) == ("input", "logits")
    for value, expected in ((source, list(SHAPE)), (result, [4])):
        batch, *rest = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch"
        assert not batch.HasField("dim_value")
        assert [dimension.dim_value for dimension in rest] == expected
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_weights_are_stored_once_in_single_precision(small_net):
    initializers = onnx_model(small_net, one_input(*SHAPE)).graph.initializer
    assert {tensor.data_type for tensor in initializers} == {onnx.TensorProto.FLOAT}
    assert len({tensor.name for tensor in initializers}) == len(initializers)
    folded = 6 * 3 * 3 * 3 + 6 + 4 * 6 + 4  # the norm leaves a bias
    assert sum(numpy_helper.to_array(tensor).size for tensor in initializers) == folded


def test_metadata_is_stored(small_net):
    metadata = {"space": "mobilenet-digits@1", "architecture": "0123456789", "empty": ""}
    model = onnx.load_from_string(
        onnx_model(small_net, one_input(*SHAPE), metadata).SerializeToString()
    )
    assert {entry.key: entry.value for entry in model.metadata_props} == metadata
    stored = onnx_session(model.SerializeToString()).get_modelmeta().custom_metadata_map
    assert stored == metadata


def test_no_metadata_unless_given(small_net):
    assert not onnx_model(small_net, one_input(*SHAPE)).metadata_props


def test_same_module_gives_the_same_bytes(small_net):
    first, second = (onnx_model(small_net, one_input(*SHAPE)).SerializeToString() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_emitting_does_not_change_the_module(small_net, training, traced):
    module = (fx.symbolic_trace(small_net) if traced else small_net).train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    tensors = {name: id(tensor) for name, tensor in module.named_parameters()}
    modes = [child.training for child in module.modules()]
    onnx_model(module, one_input(*SHAPE))
    after = module.state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    assert {name: id(tensor) for name, tensor in module.named_parameters()} == tensors
    assert [child.training for child in module.modules()] == modes
    assert not any(child._forward_hooks for child in module.modules())


def test_modules_in_training_mode_are_emitted_in_eval_mode(small_net):
    assert_same(small_net.train())
    assert small_net.training


def test_later_changes_of_the_module_do_not_reach_the_file(small_net):
    model = onnx_model(small_net, one_input(*SHAPE))
    before = model.SerializeToString()
    with torch.no_grad():
        for parameter in small_net.parameters():
            parameter.add_(1)
    assert model.SerializeToString() == before


# --- what the emitter does not know ---------------------------------------------------------------

torch.manual_seed(0)  # the modules below are made once, with these weights
UNKNOWN = {
    "module": nn.Sequential(nn.PReLU()),
    "greatest of 5 x 5": nn.Sequential(nn.AdaptiveMaxPool2d(5)),
    "norm of images": nn.Sequential(nn.InstanceNorm2d(3, affine=True)),
    "reflected": nn.Sequential(nn.ReflectionPad2d(1)),
    "function": Calls(lambda self, inputs: torch.sin(inputs)),
    "method": Calls(lambda self, inputs: inputs.relu()),
    "logarithms": Calls(
        lambda self, inputs: torch.logaddexp(self.conv(inputs), inputs), conv=nn.Conv2d(3, 3, 1)
    ),
    "deep inside": nn.Sequential(nn.Sequential(nn.ReLU(), nn.Sequential(nn.LogSoftmax(dim=1)))),
    "after a fold": nn.Sequential(convolution(), nn.BatchNorm2d(6), nn.SELU()),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_operations_are_refused(name):
    with pytest.raises(UnknownOperationError, match="no ONNX emission for"):
        emitted_model(UNKNOWN[name].eval(), one_input(*SHAPE))


class Shifted(nn.Module):
    """Adds a parameter of its own, which no module of torch's holds."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, inputs):
        return inputs + self.shift


@pytest.mark.parametrize(
    "module",
    [
        Shifted(),
        Calls(lambda self, inputs: inputs * 2),
        Calls(lambda self, inputs: 0.5 + inputs),
        Calls(lambda self, inputs: inputs + inputs),
    ],
)
def test_parameters_numbers_and_repeated_operands(module):
    assert_same(module)


def test_several_inputs_and_outputs_keep_their_names():
    inputs = {"first": TensorSpec(SHAPE), "second": TensorSpec(SHAPE)}
    module = TwoInputs()
    with pytest.raises(UnknownOperationError, match="expected outputs one, other"):
        emitted_model(module, inputs, ["one", "other"])
    session = onnx_session(onnx_model(module, inputs, outputs=["sum"]).SerializeToString())
    given = {name: np.random.default_rng(0).normal(size=(2, *SHAPE)) for name in inputs}
    given = {name: value.astype(np.float32) for name, value in given.items()}
    (found,) = session.run(["sum"], given)
    expected = module(*(torch.from_numpy(value) for value in given.values()))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


def test_free_dimensions_stay_free_and_their_sizes_are_stated():
    spec = TensorSpec((3, 20), free=(1,))
    module = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU())
    model = onnx_model(module, {"input": spec})
    assert json.loads(model.metadata_props[0].value) == {"input": [3, 20]}
    session = onnx_session(model.SerializeToString())
    for frames in (20, 7, 41):
        batch = torch.randn(2, 3, frames, generator=torch.Generator().manual_seed(0))
        (found,) = session.run(None, {"input": batch.numpy()})
        np.testing.assert_allclose(found, module(batch).detach().numpy(), atol=1e-5)


def test_what_neither_emitter_nor_exporter_knows_is_refused():
    module = UNKNOWN["greatest of 5 x 5"].eval()
    with pytest.raises(UnknownOperationError, match=r"output_size=5.*torch's exporter"):
        onnx_model(module, one_input(*SHAPE))


@pytest.mark.parametrize("name", [name for name in UNKNOWN if name != "greatest of 5 x 5"])
def test_exporter_of_torch_writes_what_no_emitter_knows(name):
    module = randomized(UNKNOWN[name])
    model = onnx_model(module, one_input(*SHAPE), {"space": "digits@1"})
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("space", "digits@1")]
    batches = [random_images(batch, 3, SHAPE) for batch in (1, 3)]
    assert_equal_outputs(model, module, batches)


def test_refusal_names_the_operation():
    with pytest.raises(UnknownOperationError, match="PReLU"):
        emitted_model(UNKNOWN["module"], one_input(*SHAPE))
    with pytest.raises(UnknownOperationError, match="output_size=5"):
        emitted_model(UNKNOWN["greatest of 5 x 5"], one_input(*SHAPE))
    assert issubclass(UnknownOperationError, NotImplementedError)


def added_with_weight(self, inputs):
    return torch.add(self.conv(inputs), inputs, alpha=3.0)


def read_after_change_in_place(self, inputs):
    hidden = self.conv(inputs)
    return hidden + self.activation(hidden)


AWKWARD = {
    "reflecting padding": nn.Sequential(convolution(padding=1, padding_mode="reflect")),
    "circular padding": nn.Sequential(convolution(padding=1, padding_mode="circular")),
    "padding 'same'": nn.Sequential(convolution(padding="same")),
    "padding 'valid'": nn.Sequential(convolution(padding="valid")),
    "weighted sum": Calls(added_with_weight, conv=nn.Conv2d(3, 3, 1)),
    "changed in place": Calls(
        read_after_change_in_place, conv=nn.Conv2d(3, 3, 1), activation=nn.ReLU(inplace=True)
    ),
    "flatten after height": nn.Sequential(nn.Flatten(2)),
    "flatten the batch": nn.Sequential(nn.Flatten(0)),
    "norm without weights": nn.Sequential(nn.BatchNorm2d(3, affine=False)),
    "folded norm without weights": nn.Sequential(convolution(), nn.BatchNorm2d(6, affine=False)),
    "norm without statistics": nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)),
    "pooled features": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "activation last": nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 64), nn.ReLU()),
    "linear on images": nn.Sequential(nn.Linear(SHAPE[-1], 4)),
    "two outputs": Calls(lambda self, inputs: (self.conv(inputs), inputs), conv=nn.Conv2d(3, 3, 1)),
    "branches": Calls(lambda self, inputs: inputs if inputs.sum() > 0 else -inputs),
    "a single convolution": convolution(),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_modules_are_refused_or_right(name):
    module = randomized(AWKWARD[name])
    with contextlib.suppress(UnknownOperationError):
        assert_same(module)


def test_two_inputs_are_refused():
    with pytest.raises(UnknownOperationError):
        onnx_model(TwoInputs(), one_input(*SHAPE))

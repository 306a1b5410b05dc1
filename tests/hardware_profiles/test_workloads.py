import hashlib
import subprocess
import sys
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.plan import PlanItem, spread_specs
from hardware_profiles.workloads import layer_workload, module_workload, subnet_workload, workload
from search_spaces import build_space
from search_spaces.part import SpacePart
from tests.contracts.inputs import one_input


def graph_of(data):
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    return model.graph


def input_shape(graph):
    (source,) = graph.input
    return tuple(dimension.dim_value for dimension in source.type.tensor_type.shape.dim[1:])


def run(data, images):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images})
    return outputs


def normal(shape, batch_size=2):
    images = np.random.default_rng(1).standard_normal((batch_size, *shape))
    return images.astype(np.float32)


def graph_macs(graph):
    """Multiply-accumulates of an ONNX graph, from the shapes it states: an independent count."""
    inferred = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph)).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.input, *inferred.output]
    }
    weights = {one.name: list(one.dims) for one in graph.initializer}
    macs = 0
    for node in graph.node:
        if node.op_type == "Conv":
            macs += int(np.prod(weights[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type == "MatMul":
            macs += int(np.prod(weights[node.input[1]]))
    return macs


@pytest.fixture(scope="module")
def large():
    """(space, architecture) of `mobilenet-v3`'s largest subnet at its smallest images."""
    space = build_space("mobilenet-v3")
    genome = SpacePart(space, {"resolution": (128,)})
    return space, space.decode(genome.embed(genome.space.largest())[0])


@pytest.fixture(scope="module")
def large_onnx(large):
    return subnet_workload(*large).onnx()


# --- layers ---------------------------------------------------------------------------------------


def test_layers_are_those_of_their_specs(space):
    for spec in spread_specs(space, 12):
        network = layer_workload(spec)
        assert tuple(network.inputs.values()) == spec.inputs
        graph = graph_of(network.onnx())
        assert input_shape(graph) == spec.inputs[0].shape
        outputs = run(network.onnx(), normal(spec.inputs[0].shape))
        if spec.kind == "classifier":
            assert outputs.shape == (2, spec["num_classes"])
        else:
            side = -(-spec["height"] // spec["stride"])
            assert outputs.shape == (2, spec["out_channels"], side, side)
        assert graph_macs(graph) == space.layers.spec_costs[1 + space.layers.specs.index(spec), 0]


def test_modules_answer_what_their_graphs_answer(space):
    for spec in spread_specs(space, 8):
        network = layer_workload(spec)
        images = normal(spec.inputs[0].shape)
        module = network.module()
        assert not module.training
        with torch.inference_mode():
            expected = module(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(run(network.onnx(), images), expected, atol=1e-4, rtol=1e-4)


def test_items_of_a_plan_are_layers_and_subnets(space, plan):
    for item in plan.items:
        graph = graph_of(workload(space, item).onnx())
        if item.role == "layer":
            assert input_shape(graph) == item.spec.inputs[0].shape
        else:
            genome = space.encode(space.architecture(item.values))
            assert graph_macs(graph) == space.layers.costs(genome).macs[0]


# --- whole subnets --------------------------------------------------------------------------------


def test_subnets_cost_what_the_space_says(space):
    for genome in space.sample_levels(6, np.random.default_rng(0)):
        architecture = space.decode(genome)
        network = subnet_workload(space, architecture)
        graph = graph_of(network.onnx())
        side = architecture.values["resolution"]
        assert network.inputs == one_input(1, side, side)
        assert input_shape(graph) == (1, side, side)
        costs = space.layers.costs(genome[None])
        assert graph_macs(graph) == costs.macs[0]
        assert run(network.onnx(), normal((1, side, side))).shape == (2, 10)


def test_a_large_subnet_is_a_sound_graph(large, large_onnx):
    space, architecture = large
    graph = graph_of(large_onnx)
    costs = space.layers.costs(space.encode(architecture))
    assert graph_macs(graph) == costs.macs[0]
    weights = sum(int(np.prod(one.dims)) for one in graph.initializer if len(one.dims) > 1)
    assert 0.95 * costs.num_params[0] < weights <= costs.num_params[0]
    assert all(one.data_type == onnx.TensorProto.FLOAT for one in graph.initializer)


def test_weights_compress_to_nearly_nothing(large_onnx):
    """A kit of hundreds of networks is to have at most 50 MB."""
    assert len(large_onnx) > 20e6
    assert len(zlib.compress(large_onnx)) < len(large_onnx) / 20


def test_weights_are_normal_numbers_and_not_all_equal(large_onnx):
    """Denormal numbers, zeros or equal rows could be quicker or slower than trained weights."""
    for one in graph_of(large_onnx).initializer:
        values = numpy_helper.to_array(one)
        if values.ndim < 2:
            continue
        assert np.isfinite(values).all()
        assert (np.abs(values[values != 0]) > 1e-20).all()
        assert (values == 0).mean() < 0.1
        rows = values.reshape(len(values), -1)
        if rows.shape[1] > 8:
            assert len(np.unique(rows, axis=0)) > 0.9 * min(len(rows), 509)


def test_activations_stay_of_order_one_to_the_end(large_onnx):
    """Overflow, or fading into denormal numbers, would change what is timed."""
    model = onnx.load_from_string(large_onnx)
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {session.get_inputs()[0].name: normal((3, 128, 128), 1)})
    assert len(found) > 60
    sizes = [np.sqrt(np.mean(np.square(one))) for one in found]
    assert all(np.isfinite(one).all() for one in found)
    assert min(sizes) > 1e-3
    assert max(sizes) < 1e3


# --- the same bytes -------------------------------------------------------------------------------


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_the_same_bytes_every_time(space, plan):
    torch.manual_seed(5)
    first = [digest(workload(space, item).onnx()) for item in plan.items]
    torch.manual_seed(6)
    torch.rand(3)
    again = [digest(workload(space, item).onnx()) for item in plan.items]
    assert first == again
    assert len(set(first)) == len(first)


def test_the_same_bytes_in_another_process(space, plan):
    script = (
        "import hashlib, sys\n"
        "from hardware_profiles.plan import Plan\n"
        "from hardware_profiles.workloads import workload\n"
        "from search_spaces import build_space\n"
        "plan = Plan.model_validate_json(sys.stdin.buffer.read())\n"
        "data = workload(build_space('mobilenet-digits'), plan.items[-1]).onnx()\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], input=plan.to_bytes(), capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == digest(workload(space, plan.items[-1]).onnx())


def test_random_numbers_are_left_alone(space, plan):
    before = torch.get_rng_state()
    workload(space, plan.items[-1]).module()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_made_when_it_is_asked_for_and_its_file_once():
    built = []

    def build():
        built.append(1)
        return nn.Conv2d(1, 1, 1)

    network = module_workload(build, one_input(1, 4, 4), ["logits"])
    assert built == []
    assert network.onnx() == network.onnx()
    assert len(built) == 1
    assert network.module() is not network.module()
    assert len(built) == 3


def test_a_module_of_ones_own_keeps_its_weights():
    module = nn.Conv2d(3, 5, 3)
    data = module_workload(lambda: module, one_input(3, 6, 6), ["logits"]).onnx()
    assert data == onnx_model(module.eval(), one_input(3, 6, 6)).SerializeToString()


def test_an_item_of_no_layer_is_refused(space):
    with pytest.raises(ValueError, match="unknown layer kind"):
        workload(space, PlanItem(id="a", role="layer", layer_kind="pooling"))

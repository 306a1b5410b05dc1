"""Small networks with random weights and calibrated norms, and ways to look into files of them."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from hardware_profiles.onnx_graph import onnx_model
from nas.exporting.parity import run_onnx
from nas.subnet.calibrate import calibrate
from search_spaces import build_space
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of, randomise

Samples = dict[str, np.ndarray]


@cache
def small_network(name: str, n: int = 64) -> tuple[bytes, Samples]:
    """The smallest subnet of a space as a file, and n samples for it."""
    space = build_space(name)
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    architecture = space.decode(space.smallest()[0])
    batch = batch_of(supernet, architecture, n, seed=0)
    subnet = supernet.extract(architecture)
    calibrate(subnet, [batch])
    inputs = supernet.inputs(architecture)
    with torch.no_grad():
        model = onnx_model(subnet.eval(), inputs, {"space": name}, outputs=space.outputs)
    samples = {key: one.numpy() for key, one in zip(inputs, batch, strict=True)}
    return model.SerializeToString(), samples


def logits(model: bytes, samples: Samples) -> np.ndarray:
    (found,) = run_onnx(model, samples, 16).values()
    return found


def difference(model: bytes, reference: bytes, samples: Samples) -> float:
    """Greatest difference of outputs, relative to the greatest output."""
    exact = logits(reference, samples)
    return float(np.abs(logits(model, samples) - exact).max() / np.abs(exact).max())


def agreement(reference: bytes, samples: Samples) -> Callable[[bytes], float]:
    """An evaluation: the share of samples whose best class is the reference's."""
    classes = logits(reference, samples).argmax(1)
    return lambda model: float((logits(model, samples).argmax(1) == classes).mean())


def kinds(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def weight(model: bytes, name: str) -> np.ndarray:
    graph = onnx.load_from_string(model).graph
    return numpy_helper.to_array(next(one for one in graph.initializer if one.name == name))


def chain_with_a_sensitive_layer() -> tuple[bytes, Samples]:
    """Three products with ReLU; the second is sensitive: what it reads holds one column that is
    500 times the others and that its weights all but ignore.
    """
    generator = np.random.default_rng(0)
    first, second, third = (
        generator.standard_normal((16, 16)).astype(np.float32) / 4 for _ in range(3)
    )
    first[:, 0] *= 500
    second[0] *= 1e-3
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w2"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("MatMul", ["c", "w3"], ["y"], name="third"),
    ]
    model = model_of(nodes, {"w1": first, "w2": second, "w3": third}, ["batch", 16])
    return model, {"x": generator.standard_normal((128, 16)).astype(np.float32)}


def model_of(nodes: list, weights: dict[str, np.ndarray], shape: list) -> bytes:
    """A serialised fp32 model: x -> y of one shape."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    initialisers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", [x], [y], initialisers)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

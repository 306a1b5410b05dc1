"""Preprocessing inside the graph: a file that takes pixels. No torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nas.exporting.manifest import ImagePreprocessing
from nas.exporting.parity import Array
from nas.exporting.predict import resized

PIXELS_NAME = "pixels"


def take_pixels(model: Any, steps: ImagePreprocessing, size: Sequence[int]) -> None:
    """Let a model of one normalised image take uint8, b x height x width x channels, instead.

    Scaling, mean and deviation, and the way to the network's own size (products with the shares
    that its pixels take of the given ones), come before what was there.

    Args:
        model: a `ModelProto`, changed.
        size: (height, width) of the pixels.
    """
    (old,) = model.graph.input
    batch = old.type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, *size, steps.channels]
    nodes, weights = [], []
    names = iter([f"{PIXELS_NAME}.{i}" for i in range(9)])
    name = PIXELS_NAME

    def add(
        operation: str, before: Sequence[str], after: Sequence[str] = (), **settings: Any
    ) -> None:
        nonlocal name
        inputs, name = [*before, name, *after], next(names)
        nodes.append(helper.make_node(operation, inputs, [name], name=name, **settings))

    def weight(word: str, value: Array) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), f"{PIXELS_NAME}.{word}"))
        return f"{PIXELS_NAME}.{word}"

    add("Cast", [], to=onnx.TensorProto.FLOAT)
    add("Transpose", [], perm=[0, 3, 1, 2])
    mean, std = (255 * np.reshape(np.array(one), (-1, 1, 1)) for one in (steps.mean, steps.std))
    add("Sub", [], [weight("mean", mean)])
    add("Div", [], [weight("std", std)])
    if size[0] != steps.height:
        add("MatMul", [weight("rows", _shares(size[0], steps.height))])
    if size[1] != steps.width:
        add("MatMul", [], [weight("columns", _shares(size[1], steps.width).T)])
    nodes.append(helper.make_node("Identity", [name], [old.name], name=f"{PIXELS_NAME}.made"))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend(weights)
    del model.graph.input[:]
    model.graph.input.append(
        helper.make_tensor_value_info(PIXELS_NAME, onnx.TensorProto.UINT8, shape)
    )


def _shares(old: int, new: int) -> Array:
    """Return new x old: what every new pixel takes of the old ones."""
    one = np.eye(old, dtype=np.float32)[None, None]
    return np.asarray(resized(one, (new, old))[0, 0])

"""One block of a subnet as plain data, and what it costs: formulas that work on numbers and on
whole arrays alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from search_spaces.errors import InputError, unknown_name

FieldValue = int | str
Fields = Mapping[str, Any]  # field name -> int, text or integer array; the formulas below serve all
MAY_BE_ZERO = {"squeeze_channels"}  # no squeeze-excite
BYTES_PER_ELEMENT = 4  # memory is stated for fp32


@dataclass(frozen=True)
class LayerSpec:
    """Hyper-parameters and input size of one block: the unit of cost and of profiling.

    Fields are ints (sizes) or words (the activation), sorted by name, so that equal layers are
    equal values.
    """

    kind: str
    fields: tuple[tuple[str, FieldValue], ...]

    @classmethod
    def of(cls, kind: str, fields: Mapping[str, FieldValue]) -> "LayerSpec":
        """Build a spec and check that it has exactly the fields of its kind.

        Raises:
            InputError: an unknown kind, a field too many or missing, a size that is not a positive
                integer.
        """
        if kind not in LAYER_KINDS:
            raise unknown_name("layer kind", kind, LAYER_KINDS)
        expected = LAYER_KINDS[kind].fields
        if set(fields) != set(expected):
            raise InputError(f"{kind}: expected fields {sorted(expected)}, got {sorted(fields)}")
        for name, value in fields.items():
            least = 0 if name in MAY_BE_ZERO else 1
            right_type = isinstance(value, expected[name]) and not isinstance(value, bool)
            if not right_type or (isinstance(value, int) and value < least):
                noun = "a word" if expected[name] is str else f"an integer >= {least}"
                raise InputError(f"{kind}: expected {name} as {noun}, got {value!r}")
        return cls(kind, tuple(sorted(fields.items())))

    @cached_property
    def values(self) -> dict[str, Any]:
        """Field values by name."""
        return dict(self.fields)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs without the batch, float32."""
        return LAYER_KINDS[self.kind].input_shapes(self.values)


@dataclass(frozen=True)
class LayerKind:
    """Formulas of one kind of layer. Each takes the fields, as ints or as arrays of equal shape.

    MACs count convolutions and matrix products only. Peak elements are the most numbers alive at
    once inside the layer: every operation writes a fresh output, except that norms, activations and
    element-wise sums and products write over their first input.
    """

    fields: Mapping[str, type]
    macs: Callable[[Fields], Any]
    num_params: Callable[[Fields], Any]
    peak_elements: Callable[[Fields], Any]
    input_shapes: Callable[[Fields], tuple[tuple[int, ...], ...]]


def _maximum(*terms: Any) -> Any:
    return np.maximum.reduce([np.asarray(term) for term in np.broadcast_arrays(*terms)])


def _image_shape(f: Fields) -> tuple[tuple[int, ...], ...]:
    return ((f["in_channels"], f["height"], f["width"]),)


def _output_size(f: Fields) -> Any:
    """Pixels of the output of a convolution padded by kernel // 2."""
    return -(-f["height"] // f["stride"]) * -(-f["width"] // f["stride"])


# --- convolution + batch norm + activation --------------------------------------------------------


def _conv_norm_macs(f: Fields) -> Any:
    return _output_size(f) * f["in_channels"] * f["out_channels"] * f["kernel"] ** 2


def _conv_norm_params(f: Fields) -> Any:
    return f["in_channels"] * f["out_channels"] * f["kernel"] ** 2 + 2 * f["out_channels"]


def _conv_norm_peak(f: Fields) -> Any:
    return f["in_channels"] * f["height"] * f["width"] + f["out_channels"] * _output_size(f)


# --- inverted residual: expand, depthwise, squeeze-excite, project (arXiv:1905.02244) ------------


def _has_expansion(f: Fields) -> Any:
    return np.not_equal(f["mid_channels"], f["in_channels"])


def _has_residual(f: Fields) -> Any:
    return np.equal(f["in_channels"], f["out_channels"]) & np.equal(f["stride"], 1)


def _inverted_residual_macs(f: Fields) -> Any:
    mid, out_size = f["mid_channels"], _output_size(f)
    expand = _has_expansion(f) * f["height"] * f["width"] * f["in_channels"] * mid
    depthwise = out_size * mid * f["kernel"] ** 2
    squeeze = 2 * mid * f["squeeze_channels"]
    return expand + depthwise + squeeze + out_size * mid * f["out_channels"]


def _inverted_residual_params(f: Fields) -> Any:
    mid, squeezed = f["mid_channels"], f["squeeze_channels"]
    expand = _has_expansion(f) * (f["in_channels"] * mid + 2 * mid)
    depthwise = mid * f["kernel"] ** 2 + 2 * mid
    squeeze = np.greater(squeezed, 0) * (2 * mid * squeezed + squeezed + mid)
    return expand + depthwise + squeeze + mid * f["out_channels"] + 2 * f["out_channels"]


def _inverted_residual_peak(f: Fields) -> Any:
    size, out_size, squeezed = f["height"] * f["width"], _output_size(f), f["squeeze_channels"]
    source, expanded = f["in_channels"] * size, f["mid_channels"] * size
    filtered, result = f["mid_channels"] * out_size, f["out_channels"] * out_size
    held = _has_residual(f) * source
    squeeze = np.greater(squeezed, 0) * (f["mid_channels"] + squeezed)
    at_expansion = _has_expansion(f) * (source + expanded)
    at_depthwise = np.where(_has_expansion(f), expanded + held, source) + filtered
    return _maximum(at_expansion, at_depthwise, held + filtered + squeeze, held + filtered + result)


# --- classifier: global average pool, hidden linear, linear ---------------------------------------


def _classifier_macs(f: Fields) -> Any:
    return f["in_channels"] * f["hidden_channels"] + f["hidden_channels"] * f["num_classes"]


def _classifier_params(f: Fields) -> Any:
    return _classifier_macs(f) + f["num_classes"]


def _classifier_peak(f: Fields) -> Any:
    pooling = f["in_channels"] * f["height"] * f["width"] + f["in_channels"]
    hidden = f["in_channels"] + f["hidden_channels"]
    return _maximum(pooling, hidden, f["hidden_channels"] + f["num_classes"])


_IMAGE = {"in_channels": int, "height": int, "width": int}

LAYER_KINDS: dict[str, LayerKind] = {
    "conv_norm": LayerKind(
        _IMAGE | {"out_channels": int, "kernel": int, "stride": int, "activation": str},
        _conv_norm_macs, _conv_norm_params, _conv_norm_peak, _image_shape,
    ),
    "inverted_residual": LayerKind(
        _IMAGE
        | {"mid_channels": int, "out_channels": int, "kernel": int, "stride": int}
        | {"squeeze_channels": int, "activation": str},
        _inverted_residual_macs, _inverted_residual_params, _inverted_residual_peak, _image_shape,
    ),
    "classifier": LayerKind(
        _IMAGE | {"hidden_channels": int, "num_classes": int, "activation": str},
        _classifier_macs, _classifier_params, _classifier_peak, _image_shape,
    ),
}  # fmt: skip

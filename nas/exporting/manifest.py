"""What an exported folder says about itself."""

from collections.abc import Mapping
from typing import Any, Literal

from hardware_profiles.artifact import Artifact, Frozen
from hardware_profiles.target import Target
from nas.exporting.parity import Parity

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
REFERENCE_NAME = "reference.npz"
ARCHITECTURE_NAME = "architecture.json"


class ArchitectureFile(Artifact):
    """`architecture.json`: which architecture of which space the model is."""

    kind: Literal["architecture"] = "architecture"
    space: str
    id: str
    values: Mapping[str, int | float | str | bool]


class Preprocessing(Frozen):
    """How to make the model's input from an image: resize, scale to 0..1, normalise per channel."""

    layout: Literal["NCHW"] = "NCHW"
    height: int
    width: int
    channels: int
    resize: Literal["bilinear, antialiased, after normalising"] = (
        "bilinear, antialiased, after normalising"
    )
    mean: tuple[float, ...]
    std: tuple[float, ...]


class MeasuredLatency(Frozen):
    """Latency of the exported subnet on a target.

    Under ONNX Runtime that of the file itself. Other runtimes run what the same subnet becomes
    there: the torch module, or an engine built from the file, in the target's precision.
    """

    target: Target
    latency_ms: float
    noise: float  # (typical pass - latency) / latency


class Manifest(Artifact):
    """Everything a deployer must know, and everything `nas verify` checks."""

    kind: Literal["manifest"] = "manifest"
    space: str
    architecture_id: str
    files: Mapping[str, str]  # SHA-256 by name
    parity: Mapping[str, Parity]
    costs: Mapping[str, int]  # analytic: MACs, parameters, activation bytes
    validation_accuracy: float
    test_accuracy: float
    predicted_latency_ms: float
    measured: tuple[MeasuredLatency, ...]
    budget_ms: float | None  # None: exported without one
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    made_from: Mapping[str, Any]  # SHA-256 of the supernet and the profile, seed, versions

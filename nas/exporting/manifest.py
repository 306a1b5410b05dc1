"""What an exported folder says about itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from hardware_profiles.artifact import Artifact, Frozen
from hardware_profiles.profile_device import CPU_PROVIDER
from hardware_profiles.target import Precision, Target
from nas.exporting.comparison import Comparison
from nas.exporting.parity import Parity
from nas.exporting.plan_info import PlanInfo
from nas.results import WeightsKind

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
REFERENCE_NAME = "reference.npz"
ARCHITECTURE_NAME = "architecture.json"
SAMPLE_NAME = "sample.npz"
PREDICT_NAME = "predict.py"
PROFILE_NAME = "profile_device.py"
README_NAME = "README.md"
INPUT_PREFIX, OUTPUT_PREFIX = "inputs.", "outputs."  # of the arrays in the reference


class ArchitectureFile(Artifact):
    """`architecture.json`: which architecture of which space the model is."""

    kind: Literal["architecture"] = "architecture"
    space: str
    id: str
    values: Mapping[str, int | float | str | bool]


class ImagePreprocessing(Frozen):
    """How to make the model's input from an image: resize, scale to 0..1, normalise per channel."""

    kind: Literal["image"] = "image"
    layout: Literal["NCHW"] = "NCHW"
    height: int
    width: int
    channels: int
    resize: Literal["bilinear, antialiased, after normalising"] = (
        "bilinear, antialiased, after normalising"
    )
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TokenPreprocessing(Frozen):
    """How to make ids and mask from a text: tokenise, cut or pad with 0 to the length."""

    kind: Literal["tokens"] = "tokens"
    dtype: Literal["int64"] = "int64"
    length: int
    vocabulary: int  # ids are below it
    tokenizer: str | None  # None: ids as they were in the data
    mask: Literal["1 where a token is, 0 where padding is"] = (
        "1 where a token is, 0 where padding is"
    )


class SequencePreprocessing(Frozen):
    """How to make the model's input from a sequence: normalise per feature."""

    kind: Literal["sequence"] = "sequence"
    layout: Literal["batch, features, frames"] = "batch, features, frames"
    features: int
    frames: int  # of the data; the model's input says whether others may come
    mean: tuple[float, ...]
    std: tuple[float, ...]


Preprocessing = Annotated[
    ImagePreprocessing | TokenPreprocessing | SequencePreprocessing, Field(discriminator="kind")
]


class InputTensor(Frozen):
    """One input of the model, without the batch; the sizes at the positions `free` may vary."""

    shape: tuple[int, ...]
    dtype: str
    free: tuple[int, ...] = ()


class MeasuredLatency(Frozen):
    """Latency of a model file on a target.

    Under ONNX Runtime that of the file itself. Other runtimes run what the same subnet becomes
    there: the torch module, or an engine built from the file, in the target's precision.
    """

    target: Target
    latency_ms: float = Field(gt=0)
    noise: float  # (typical pass - latency) / latency
    file: str = MODEL_NAME

    @property
    def typical_ms(self) -> float:
        """The typical pass, which budgets are held against."""
        return self.latency_ms * (1 + self.noise)


class WantedBudget(Frozen):
    """What a search for a device elsewhere was asked for: nothing was measured there yet."""

    target: Target
    budget_ms: float


class Conversion(Frozen):
    """How a file came to another precision than fp32."""

    method: str | None = None  # of calibration, of int8
    scheme: str | None = None  # of int8: the types that a kind of processor takes
    kept_float: tuple[str, ...] = ()  # nodes in fp32 although their kind has the precision
    accuracy_before: float | None = None  # of the fp32 file on the samples it was chosen by
    accuracy_after: float | None = None
    num_evaluations: int = 0
    notes: tuple[str, ...] = ()


class ModelFile(Frozen):
    """One model file of the folder."""

    format: Literal["onnx", "ort"]
    precision: Precision
    opset: int
    batch: int | None  # None: any
    preprocessing: Literal["outside", "graph"]  # in the graph: it takes pixels
    inputs: Mapping[str, InputTensor]
    exporter: Literal["supernet-engine", "torch"] = "supernet-engine"
    operators: tuple[str, ...]  # ONNX's, of the default domain unless it is named
    parity: Parity  # with the subnet on validation samples, of several batch sizes the worst
    random_parity: Parity  # likewise on random inputs
    accuracy: float  # of the file, on as many validation samples
    accuracy_difference: float  # the subnet's on the same ones - the file's
    conversion: Conversion | None = None  # None: in fp32
    provider: str = CPU_PROVIDER  # ONNX Runtime's that it was proven under


class EngineFile(Frozen):
    """One TensorRT engine of the folder, which runs where its `info` says."""

    source: str  # the ONNX file of the folder that it was built from
    info: PlanInfo
    parity: Mapping[str, Parity]  # with the plain file on validation samples, by batch
    conversion: Conversion | None = None  # of the source
    build_command: str  # the same with NVIDIA's trtexec, in the folder
    time_command: str


class Manifest(Artifact):
    """Everything a deployer must know, and everything `nas verify` checks."""

    kind: Literal["manifest"] = "manifest"
    format: int = 3
    space: str
    architecture_id: str
    files: Mapping[str, str]  # SHA-256 by name
    models: Mapping[str, ModelFile]  # those of the files that ONNX Runtime answers with, by name
    engines: Mapping[str, EngineFile] = {}  # TensorRT's, by name
    parity: Mapping[str, Parity]
    costs: Mapping[str, int]  # analytic: MACs, parameters, activation bytes
    metric: str = "accuracy"  # what the accuracies measure; greater is better
    classification: bool = True  # the output is b x classes logits
    weights: WeightsKind = "inherited"
    validation_accuracy: float
    test_accuracy: float
    predicted_latency_ms: float
    measured: tuple[MeasuredLatency, ...]
    precisions: Comparison | None = None  # side by side, where they were asked for
    budget_ms: float | None  # that the first measurement keeps; None: exported without one
    wanted: tuple[WantedBudget, ...] = ()  # for devices elsewhere, the last one asked for first
    inputs: Mapping[str, InputTensor]  # of the model, by name
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]  # empty where the targets are no classes
    licences: Mapping[str, str] = {}  # of what it was made from, by name
    made_from: Mapping[str, Any]  # SHA-256 of supernet, profile, fine-tuned weights; seed, versions

"""What an export is asked for beside the plain file. Needs neither torch nor ONNX."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hardware_profiles.operators import OPSET
from hardware_profiles.runtimes.tensorrt_options import BatchRange, EngineOptions, engine_options
from hardware_profiles.target import Precision
from nas.exporting.model_options import PLAIN, PRECISIONS, ModelOptions
from search_spaces import InputError, unknown_name

ALL = "all"
TENSORRT = "tensorrt"
BF16_OPSET = 22  # from which on ONNX defines convolutions in bf16
ENGINE_OPTIONS = ("batch_range", "workspace_mb", "version_compatible", "hardware_compatible")


@dataclass(frozen=True)
class EngineRequest:
    """A TensorRT engine; what it computes in is that of the ONNX file it is built from."""

    model: ModelOptions
    options: EngineOptions

    @property
    def file_name(self) -> str:
        """model.plan, or model.int8.plan."""
        return self.model.file_name.removesuffix("onnx") + "plan"

    @property
    def source_name(self) -> str:
        """The ONNX file: the plain one, or one that was made for TensorRT."""
        if self.model == PLAIN:
            return PLAIN.file_name
        return self.model.file_name.removesuffix("onnx") + "tensorrt.onnx"


@dataclass(frozen=True)
class ExportRequest:
    """Further files of a folder.

    Args:
        files: in fp32.
        compared: of several precisions, the fp32 one first, to be measured side by side.
        named: precisions that were asked for by name: their files stay in any case, and it is an
            error where they cannot be had. Others stay where they pay.
        engine: a TensorRT engine.
    """

    files: tuple[ModelOptions, ...] = ()
    compared: tuple[ModelOptions, ...] = ()
    named: tuple[Precision, ...] = ()
    engine: EngineRequest | None = None

    @property
    def is_plain(self) -> bool:
        """Tell whether the plain file is all."""
        return not (self.files or self.compared or self.engine)

    @property
    def options(self) -> tuple[ModelOptions, ...]:
        """All of them that ONNX Runtime opens."""
        return (*self.files, *self.compared)


PLAIN_REQUEST = ExportRequest()


def read_request(options: Mapping[str, Any]) -> ExportRequest:
    """Check the options of an export.

    Raises:
        InputError: an unknown option, or one that does not go with the others; a word, an opset, a
            batch or a size that files or engines cannot have.
    """
    known = [field.name for field in fields(ModelOptions)]
    for name in options:
        if name not in (*known, *ENGINE_OPTIONS):
            raise unknown_name("option", name, (*known, *ENGINE_OPTIONS))
    if options.get("format") == TENSORRT:
        return ExportRequest(engine=_engine(options))
    others = [name for name in ENGINE_OPTIONS if options.get(name) is not None]
    if others:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise InputError(f"{names}: of TensorRT engines alone; add --format tensorrt")
    words = [one.strip() for one in str(options.get("precision", "fp32")).split(",")]
    if words == [ALL]:
        return ExportRequest(compared=_each(PRECISIONS, options), named=("fp32",))
    asked = _each(words, options)
    if asked == (PLAIN,):
        return PLAIN_REQUEST
    if [one.precision for one in asked] == ["fp32"]:
        return ExportRequest(files=asked)
    named = tuple(one.precision for one in asked)
    return ExportRequest(compared=_each(["fp32", *words], options), named=named)


def _each(precisions: Iterable[str], options: Mapping[str, Any]) -> tuple[ModelOptions, ...]:
    names = dict.fromkeys(precisions)
    return tuple(ModelOptions(**{**options, "precision": name}) for name in names)


def _engine(options: Mapping[str, Any]) -> EngineRequest:
    """Read what an engine is to be.

    Raises:
        InputError: as `read_request`.
    """
    for name, instead in {
        "batch": "--batch-range takes the batch sizes of an engine",
        "preprocessing": "an engine takes prepared inputs",
    }.items():
        if options.get(name) is not None:
            raise InputError(f"--{name} does not go with --format tensorrt: {instead}")
    precision = options.get("precision", "fp32")
    if precision == ALL or "," in str(precision):
        raise InputError(f"expected one precision of an engine, got {precision}")
    opset = options.get("opset", BF16_OPSET if precision == "bf16" else OPSET)
    model = ModelOptions(precision=precision, opset=opset)
    given = {name: options[name] for name in ENGINE_OPTIONS if options.get(name) is not None}
    if "batch_range" in given:
        given["batch"] = BatchRange.parse(str(given.pop("batch_range")))
    return EngineRequest(model, engine_options(given))

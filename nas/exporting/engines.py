"""TensorRT engines of a folder: built from an ONNX file that lies beside them, and kept with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

from nas.exporting import plan
from nas.exporting.conversions import conversion_of, convert
from nas.exporting.earlier import as_it_was
from nas.exporting.limits import limits_of
from nas.exporting.manifest import EngineFile, Manifest, MeasuredLatency
from nas.exporting.model_file import at_opset
from nas.exporting.model_options import PLAIN
from nas.exporting.parity import compare
from nas.exporting.plan_info import GpuSetup
from nas.exporting.precisions import Converted
from nas.exporting.request import EngineRequest
from nas.exporting.trial import Trial
from nas.exporting.trtexec import build_command, time_command
from search_spaces.errors import ParityError

SCHEME = "tensorrt"  # of int8


@dataclass(frozen=True)
class Engines:
    """Engines with their ONNX files, and what was measured of them."""

    contents: Mapping[str, bytes] = field(default_factory=dict)
    entries: Mapping[str, EngineFile] = field(default_factory=dict)
    measured: tuple[MeasuredLatency, ...] = ()


def make_engine(trial: Trial, plain: bytes, request: EngineRequest, setup: GpuSetup) -> Engines:
    """Build an engine here, prove that it answers like the plain file, and time it.

    Args:
        plain: the stamped file, which was proven equal to the subnet.
        setup: what `gpu_setup` says.

    Raises:
        MissingExtraError: TensorRT is not installed.
        InputError: no GPU, or what it, TensorRT or the network does not allow.
        ParityError: it answers differently, or its int8 loses too much.
    """
    precision, name, source = request.model.precision, request.file_name, request.source_name
    converted = None
    if precision == "fp32":
        model = plain if request.model == PLAIN else at_opset(plain, request.model.opset)
    else:
        scheme = SCHEME if precision == "int8" else None
        converted = convert(trial, plain, request.model, provider=None, scheme=scheme)
        check_drop(name, converted, len(trial.raw))
        model = converted.model
    classes = trial.evaluator.task.classification
    made = plan.build_plan(
        model,
        trial.feeds("outside"),
        precision,
        request.options.model_copy(update={"timing_cache": plan.default_timing_cache(setup)}),
        compare=partial(compare, classification=classes, precision=precision),
        reference=plain,
        specs=trial.exported.inputs,
    )
    entry = EngineFile(
        source=source,
        info=made.info,
        parity=made.parity,
        conversion=None if converted is None else conversion_of(converted),
        build_command=build_command(made.info, source, name),
        time_command=time_command(made.info, name),
    )
    measured = tuple(
        MeasuredLatency(target=target, latency_ms=timing.latency_ms, noise=timing.noise, file=name)
        for target, timing in (made.graph, made.launched)
    )
    return Engines({source: model, name: made.engine}, {name: entry}, measured)


def check_drop(name: str, converted: Converted, num_samples: int) -> None:
    """Refuse what the gate would refuse of a model file.

    Raises:
        ParityError: the metric fell by more than the precision may cost.
    """
    drop, most = converted.accuracy_drop, limits_of(converted.precision).accuracy + 1 / num_samples
    if drop is not None and not drop <= most:
        raise ParityError(
            f"{name}: its ONNX file loses {drop:.4g} on {num_samples} validation samples (limit "
            f"{most:.4g})"
        )


def earlier_engines(folder: Path, earlier: Manifest | None, models: Mapping[str, bytes]) -> Engines:
    """Return the engines that an earlier export of the same weights left, with their ONNX files;
    those that are not as they were, or whose ONNX file is another now, are left out.

    Args:
        models: the model files of the new folder.
    """
    if earlier is None:
        return Engines()
    contents: dict[str, bytes] = {}
    entries: dict[str, EngineFile] = {}
    for name, entry in earlier.engines.items():
        engine = as_it_was(folder, name, earlier.files.get(name))
        source = models.get(entry.source)
        if source is None:
            source = as_it_was(folder, entry.source, entry.info.onnx_sha256)
        if engine is None or source is None:
            continue
        if sha256(source).hexdigest() == entry.info.onnx_sha256:
            contents |= {entry.source: source, name: engine}
            entries[name] = entry
    return Engines(contents, entries, tuple(one for one in earlier.measured if one.file in entries))

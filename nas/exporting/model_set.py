"""The model files of one folder: made from the plain one, each through the gate, and measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles.measure_plan import measure_workloads
from hardware_profiles.profile_device import CPU_PROVIDER
from hardware_profiles.runtimes.runtime import Runtime
from nas.device import local_runtime
from nas.exporting.conversions import conversion_of, convert
from nas.exporting.gate import Checked, check_file
from nas.exporting.manifest import InputTensor, MeasuredLatency, ModelFile
from nas.exporting.manifest import Preprocessing as Steps
from nas.exporting.model_file import make_file
from nas.exporting.model_options import ModelOptions
from nas.exporting.parity import Parity
from nas.exporting.pixels import PIXELS_NAME
from nas.exporting.precisions import Converted
from nas.exporting.trial import Trial
from search_spaces.errors import ParityError


@dataclass(frozen=True)
class ModelSet:
    """Model files that passed the gate, and what it found."""

    contents: dict[str, bytes]
    entries: dict[str, ModelFile]
    parities: dict[str, Parity]


def make_models(
    trial: Trial,
    plain: bytes,
    options: Sequence[ModelOptions],
    steps: Steps,
    provider: str = CPU_PROVIDER,
) -> ModelSet:
    """Make the files that options ask for, and prove each equal to the subnet.

    Args:
        plain: the stamped file.
        provider: ONNX Runtime's, that files of other precisions than fp32 are for.

    Raises:
        InputError: options that this network has no file for, or the provider none.
        ParityError: a file is not sound, or answers differently.
    """
    found = ModelSet({}, {}, {})
    for one in dict.fromkeys(options):
        size = trial.raw.inputs[0].shape[2:]
        converted = None if one.precision == "fp32" else convert(trial, plain, one, provider)
        model, operators = make_file(converted.model if converted else plain, one, steps, size)
        checked = check_file(model, one, trial, provider if converted else CPU_PROVIDER)
        name = one.file_name
        entry = _entry(trial, one, operators, checked)
        if converted is not None:
            entry = _with_conversion(entry, converted, provider)
        found.contents[name], found.entries[name] = model, entry
        found.parities.update(checked.parities)
    return found


def joined(*sets: ModelSet) -> ModelSet:
    """Return all files of several sets; of one name the last one's."""
    result = ModelSet({}, {}, {})
    for one in sets:
        result.contents.update(one.contents)
        result.entries.update(one.entries)
        result.parities.update(one.parities)
    return result


def _with_conversion(entry: ModelFile, converted: Converted, provider: str) -> ModelFile:
    stated = {"conversion": conversion_of(converted), "provider": provider}
    return entry.model_copy(update=stated)


def _entry(
    trial: Trial, options: ModelOptions, operators: tuple[str, ...], checked: Checked
) -> ModelFile:
    inputs = {
        name: InputTensor(shape=spec.shape, dtype=spec.dtype, free=spec.free)
        for name, spec in trial.exported.inputs.items()
    }
    if options.preprocessing == "graph":
        channels, *size = trial.raw.inputs[0].shape[1:]
        inputs = {PIXELS_NAME: InputTensor(shape=(*size, channels), dtype="uint8")}
    return ModelFile(
        format=options.format,
        precision=options.precision,
        opset=options.opset,
        batch=options.batch,
        preprocessing=options.preprocessing,
        inputs=inputs,
        operators=operators,
        parity=checked.worst,
        random_parity=checked.random,
        accuracy=checked.accuracy,
        accuracy_difference=checked.accuracy_difference,
    )


def measure_further(
    trial: Trial,
    models: ModelSet,
    options: Sequence[ModelOptions],
    runtime: Runtime | None,
    budget_ms: float | None,
) -> list[MeasuredLatency]:
    """Measure the further files, those of one batch side by side.

    Raises:
        ParityError: one misses the budget, which is of the same target.
    """
    found: list[MeasuredLatency] = []
    if runtime is None:
        return found
    batches = {one.batch or runtime.target.batch_size for one in options}
    for batch in sorted(batches):
        target = runtime.target.model_copy(update={"batch_size": batch})
        there = local_runtime(target)
        assert there is not None  # this machine at another batch
        own = [one for one in options if (one.batch or runtime.target.batch_size) == batch]
        workloads = [trial.exported.workload_of(models.contents[one.file_name]) for one in own]
        for one, timing in zip(own, measure_workloads(there, workloads), strict=True):
            same = target.id == runtime.target.id
            if budget_ms is not None and same and not timing.keeps(budget_ms):
                raise ParityError(
                    f"{one.file_name}: the typical pass takes {timing.typical_ms:.4g} ms, budget "
                    f"{budget_ms:.4g} ms"
                )
            found.append(
                MeasuredLatency(
                    target=target.model_copy(update={"precision": one.precision}),
                    latency_ms=timing.latency_ms,
                    noise=timing.noise,
                    file=one.file_name,
                )
            )
    return found

"""A subnet leaves as a folder whose model was proven equal to it and timed; or it does not
leave.
"""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from torch import fx

from hardware_profiles.artifact import write_atomic
from hardware_profiles.measure_plan import measure_workloads
from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.target import Target
from nas.artifacts import fitted_latency, supernet_hash
from nas.data import Dataset, Inputs
from nas.device import run_device
from nas.exporting.gate import Exported, check_parity, named_arrays
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    INPUT_PREFIX,
    MANIFEST_NAME,
    MODEL_NAME,
    OUTPUT_PREFIX,
    REFERENCE_NAME,
    ArchitectureFile,
    ImagePreprocessing,
    InputTensor,
    Manifest,
    MeasuredLatency,
    Preprocessing,
    SequencePreprocessing,
    TokenPreprocessing,
)
from nas.finetuning.fine_tuned import Weights, best_weights, load_inherited
from nas.results import ExportResult
from nas.run_directory import Run, library_versions
from nas.subnet.evaluator import SubnetEvaluator, run_in_batches
from search_spaces import Architecture
from search_spaces.layer_kind import TensorSpec

NUM_REFERENCES = 32  # stored inputs and outputs, for `nas verify` anywhere; at most
LEAST_REFERENCES = 2
REFERENCE_BYTES = 4_000_000


class Timing(Protocol):
    """What was measured of a model file."""

    @property
    def latency_ms(self) -> float:
        """The least window median."""

    @property
    def noise(self) -> float:
        """(Typical pass - latency) / latency."""

    def keeps(self, budget_ms: float) -> bool:
        """Tell whether the typical pass is within a budget."""


def to_onnx(
    subnet: fx.GraphModule,
    architecture: Architecture,
    inputs: Mapping[str, TensorSpec],
    outputs: Sequence[str] = ("logits",),
) -> Exported:
    """Emit a calibrated subnet as checked ONNX."""
    metadata = {
        "space": architecture.space,
        "architecture_id": architecture.id,
        "architecture": json.dumps(dict(architecture.values)),
    }
    with torch.no_grad():
        model = onnx_model(subnet, inputs, metadata, outputs)
    onnx.checker.check_model(model, full_check=True)
    return Exported(architecture, subnet, model.SerializeToString(), inputs, tuple(outputs))


def export_in_memory(evaluator: SubnetEvaluator, architecture: Architecture) -> Exported:
    """Extract, calibrate and emit one architecture."""
    subnet = evaluator.subnet(architecture)
    return to_onnx(subnet, architecture, evaluator.specs(architecture), evaluator.output_names)


def export_subnet(
    run: Run,
    exported: Exported,
    measured: tuple[Target, Timing] | None,
    *,
    weights: Weights,
    profile_sha256: str,
    predicted_latency_ms: float,
    budget_ms: float | None,
) -> tuple[Path, Manifest]:
    """Pass the gate, then write `subnets/ID/` with model, reference outputs and manifest.

    Args:
        measured: the target and what was measured of `exported` on it; None where the device is
            elsewhere.
        weights: what it was extracted from.
        budget_ms: what the measurement kept; None where it was made without a budget. A folder that
            is there and kept a tighter one goes on stating that.

    Raises:
        ParityError: supernet, subnet and file disagree; nothing is written.
    """
    architecture, subnet = exported.architecture, exported.subnet
    evaluator = weights.evaluator
    parities = check_parity(exported, weights.network, evaluator)
    inputs = evaluator.inputs("validation", architecture)
    files = {
        MODEL_NAME: exported.model,
        ARCHITECTURE_NAME: ArchitectureFile.model_validate(architecture.to_json()).to_bytes(),
        REFERENCE_NAME: _reference(exported, inputs),
    }
    data = run.data
    made_from = {
        "supernet": supernet_hash(run),
        "profile": profile_sha256,
        "seed": run.recipe.seed,
        "data": run.data_sha256,
        "versions": library_versions(),
    }
    if weights.checkpoint_sha256 is not None:
        made_from["fine_tuned"] = weights.checkpoint_sha256
    folder = run.subnets_path / architecture.id
    hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
    earlier = _earlier(folder, hashes)
    if measured is None and earlier is not None:
        return folder, earlier  # which may state a measurement on another device
    manifest = Manifest(
        space=architecture.space,
        architecture_id=architecture.id,
        files=hashes,
        parity=parities,
        costs=run.space.layers.costs(run.space.encode(architecture)).row(0),
        metric=evaluator.task.metric,
        classification=evaluator.task.classification,
        weights=weights.kind,
        validation_accuracy=evaluator.score(subnet, architecture, "validation").accuracy,
        test_accuracy=evaluator.score(subnet, architecture, "test").accuracy,
        predicted_latency_ms=predicted_latency_ms,
        measured=_measured(measured),
        budget_ms=_tightest(earlier, budget_ms, measured),
        inputs={
            name: InputTensor(shape=spec.shape, dtype=spec.dtype, free=spec.free)
            for name, spec in exported.inputs.items()
        },
        outputs=exported.outputs,
        preprocessing=_preprocessing(data, exported.inputs),
        class_names=data.class_names,
        made_from=made_from,
    )
    _write_folder(folder, {**files, MANIFEST_NAME: manifest.to_bytes()})
    return folder, manifest


def export_architecture(
    run: Run, architecture: Architecture, inherited_only: bool = False
) -> ExportResult:
    """Extract, calibrate, emit, measure and write one subnet, without a budget.

    Args:
        inherited_only: take the supernet's weights, also where fine-tuned ones are there.

    Raises:
        ParityError: supernet, subnet and file disagree; nothing is written.
    """
    device, inherited = run_device(run), load_inherited(run)
    assert device.runtime is not None  # a run's own profile is of this machine
    weights = Weights(inherited.supernet, inherited.evaluator)
    if not inherited_only:
        weights = best_weights(run, architecture, inherited)
    exported = export_in_memory(weights.evaluator, architecture)
    latency = fitted_latency(run, device).predictor
    measurement = measure_workloads(device.runtime, [exported.workload])[0]
    folder, manifest = export_subnet(
        run,
        exported,
        (device.runtime.target, measurement),
        weights=weights,
        profile_sha256=device.profile_sha256,
        predicted_latency_ms=float(latency.predict(run.space.encode(architecture)).mean[0]),
        budget_ms=None,
    )
    return ExportResult(
        directory=str(folder),
        files=manifest.files,
        parity={
            name: {
                "max_abs_difference": parity.max_abs_difference,
                "top1_agreement": parity.top1_agreement,
            }
            for name, parity in manifest.parity.items()
        },
        measured_latency_ms=measurement.latency_ms,
        weights=weights.kind,
    )


def _measured(measured: tuple[Target, Timing] | None) -> tuple[MeasuredLatency, ...]:
    if measured is None:
        return ()
    target, timing = measured
    return (MeasuredLatency(target=target, latency_ms=timing.latency_ms, noise=timing.noise),)


def _earlier(folder: Path, hashes: Mapping[str, str]) -> Manifest | None:
    """Return the manifest of an earlier export of the very same files."""
    if not (folder / MANIFEST_NAME).is_file():
        return None
    earlier = Manifest.load(folder / MANIFEST_NAME)
    return earlier if dict(earlier.files) == hashes else None


def _tightest(
    earlier: Manifest | None,
    budget_ms: float | None,
    measured: tuple[Target, Timing] | None,
) -> float | None:
    """Of this budget and the one stated for the same target earlier, the tighter one still kept."""
    known = earlier.budget_ms if earlier else None
    if measured is None or earlier is None or known is None:
        return budget_ms
    same = {one.target.id for one in earlier.measured} == {measured[0].id}
    if not same or not measured[1].keeps(known):
        return budget_ms
    return known if budget_ms is None else min(known, budget_ms)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files into a folder that appears whole or not at all."""
    temporary, old = (folder.with_name(f".{folder.name}.{word}.tmp") for word in ("new", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        for name, content in files.items():
            write_atomic(temporary / name, content)
        if folder.exists():
            folder.replace(old)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _preprocessing(data: Dataset, inputs: Mapping[str, TensorSpec]) -> Preprocessing:
    first = next(iter(inputs.values())).shape
    if data.modality == "tokens":
        return TokenPreprocessing(
            length=first[0], vocabulary=data.vocabulary, tokenizer=data.tokenizer
        )
    if data.modality == "sequence":
        return SequencePreprocessing(
            features=first[0], frames=first[1], mean=data.mean, std=data.std
        )
    channels, height, width = first
    return ImagePreprocessing(
        height=height, width=width, channels=channels, mean=data.mean, std=data.std
    )


def _reference(exported: Exported, inputs: Inputs) -> bytes:
    """Return the first samples and their outputs as a file, as many as keep it small."""
    one = run_in_batches(exported.subnet, tuple(tensor[:1] for tensor in inputs))
    outputs = named_arrays(exported.outputs, one).values()
    size = sum(tensor[0].nbytes for tensor in inputs) + sum(array.nbytes for array in outputs)
    n = min(NUM_REFERENCES, max(LEAST_REFERENCES, REFERENCE_BYTES // size))
    some = tuple(tensor[:n] for tensor in inputs)
    answers = named_arrays(exported.outputs, run_in_batches(exported.subnet, some))
    arrays = {f"{INPUT_PREFIX}{k}": v for k, v in named_arrays(exported.inputs, some).items()}
    arrays |= {f"{OUTPUT_PREFIX}{name}": value for name, value in answers.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub
    return buffer.getvalue()

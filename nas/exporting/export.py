"""A subnet leaves as a folder whose model was proven equal to it and timed; or it does not
leave.
"""

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from hardware_profiles.artifact import file_hash, write_atomic
from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile import Profile
from hardware_profiles.profile_device import measure_models
from nas.artifacts import load_profile, load_supernet, subnet_evaluator, supernet_hash
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    REFERENCE_NAME,
    ArchitectureFile,
    Manifest,
    MeasuredLatency,
    Preprocessing,
)
from nas.exporting.parity import Parity, compare, gate, run_onnx
from nas.fitted_predictors import fit_latency
from nas.results import ExportResult
from nas.run_directory import Run, library_versions
from nas.subnet.evaluator import SubnetEvaluator
from search_spaces import Architecture
from search_spaces.supernet import Supernet

NUM_REFERENCES = 32  # stored inputs and outputs, for `nas verify` anywhere
PARITY_BATCH_SIZE = 64
NUM_PARITY_IMAGES = 256


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


@dataclass(frozen=True)
class Exported:
    """A subnet with its model file in memory."""

    architecture: Architecture
    subnet: fx.GraphModule  # calibrated, eval mode
    model: bytes  # ONNX


def to_onnx(
    subnet: fx.GraphModule, architecture: Architecture, input_shape: tuple[int, ...]
) -> Exported:
    """Emit a calibrated subnet as checked ONNX."""
    metadata = {
        "space": architecture.space,
        "architecture_id": architecture.id,
        "architecture": json.dumps(dict(architecture.values)),
    }
    with torch.no_grad():
        model = onnx_model(subnet, input_shape, metadata)
    onnx.checker.check_model(model, full_check=True)
    return Exported(architecture, subnet, model.SerializeToString())


def check_parity(
    exported: Exported, supernet: Supernet, evaluator: SubnetEvaluator
) -> dict[str, Parity]:
    """Compare supernet, subnet and file on validation images.

    Raises:
        ParityError: one of them answers differently.
    """
    images = evaluator.images("validation", exported.architecture)[:NUM_PARITY_IMAGES]
    batch = images if len(images) >= 8 else images.repeat(8, 1, 1, 1)
    parities = {
        "supernet": supernet_parity(
            supernet, exported.subnet, exported.architecture, batch[:PARITY_BATCH_SIZE]
        ),
        f"{MODEL_NAME} batch 1": file_parity(exported.model, exported.subnet, images, 1),
        f"{MODEL_NAME} batch {PARITY_BATCH_SIZE}": file_parity(
            exported.model, exported.subnet, images, PARITY_BATCH_SIZE
        ),
    }
    gate(list(parities.items()))
    return parities


def supernet_parity(
    supernet: Supernet, subnet: fx.GraphModule, architecture: Architecture, images: Tensor
) -> Parity:
    """Compare supernet and extracted subnet, both on the statistics of one batch of at least 8.

    The subnet's norm statistics are restored afterwards.
    """
    assert len(images) >= 8, "norms need a batch"
    state = {name: value.clone() for name, value in subnet.state_dict().items()}
    subnet.train()
    try:
        with torch.no_grad():
            expected = supernet(images, architecture)
            found = subnet(images)
    finally:
        subnet.load_state_dict(state)
        subnet.eval()
    return compare(found.cpu().numpy(), expected.cpu().numpy())


def file_parity(model: bytes, subnet: fx.GraphModule, images: Tensor, batch_size: int) -> Parity:
    """Compare an ONNX file with the calibrated subnet in eval mode, in batches of `batch_size`."""
    with torch.no_grad():
        expected = torch.cat([subnet(batch) for batch in torch.split(images, 256)])
    return compare(run_onnx(model, images.numpy(), batch_size), expected.numpy())


def export_subnet(
    run: Run,
    exported: Exported,
    measurement: Timing,
    *,
    supernet: Supernet,
    evaluator: SubnetEvaluator,
    profile: Profile,
    predicted_latency_ms: float,
    budget_ms: float | None,
) -> tuple[Path, Manifest]:
    """Pass the gate, then write `subnets/ID/` with model, reference outputs and manifest.

    Args:
        measurement: of `exported.model` on the profile's target.
        budget_ms: what the measurement kept; None where it was made without a budget. A folder that
            is there and kept a tighter one goes on stating that.

    Raises:
        ParityError: supernet, subnet and file disagree; nothing is written.
    """
    architecture, subnet = exported.architecture, exported.subnet
    parities = check_parity(exported, supernet, evaluator)
    images = evaluator.images("validation", architecture)
    _, channels, height, width = images.shape
    files = {
        MODEL_NAME: exported.model,
        ARCHITECTURE_NAME: ArchitectureFile.model_validate(architecture.to_json()).to_bytes(),
        REFERENCE_NAME: _reference(subnet, images[:NUM_REFERENCES]),
    }
    data = run.data
    made_from = {
        "supernet": supernet_hash(run),
        "profile": file_hash(run.profile_path),
        "seed": run.recipe.seed,
        "data": run.data_sha256,
        "versions": library_versions(),
    }
    folder = run.subnets_path / architecture.id
    manifest = Manifest(
        space=architecture.space,
        architecture_id=architecture.id,
        files={name: sha256(content).hexdigest() for name, content in files.items()},
        parity=parities,
        costs=run.space.layers.costs(run.space.encode(architecture)).row(0),
        validation_accuracy=evaluator.score(subnet, architecture, "validation").accuracy,
        test_accuracy=evaluator.score(subnet, architecture, "test").accuracy,
        predicted_latency_ms=predicted_latency_ms,
        measured=(
            MeasuredLatency(
                target=profile.target,
                latency_ms=measurement.latency_ms,
                noise=measurement.noise,
            ),
        ),
        budget_ms=_tightest(folder, made_from["supernet"], budget_ms, measurement),
        preprocessing=Preprocessing(
            height=height, width=width, channels=channels, mean=data.mean, std=data.std
        ),
        class_names=data.class_names,
        made_from=made_from,
    )
    _write_folder(folder, {**files, MANIFEST_NAME: manifest.to_bytes()})
    return folder, manifest


def export_architecture(run: Run, architecture: Architecture) -> ExportResult:
    """Extract, calibrate, emit, measure and write one subnet, without a budget.

    Raises:
        ParityError: supernet, subnet and file disagree; nothing is written.
    """
    profile, supernet = load_profile(run), load_supernet(run)
    evaluator = subnet_evaluator(run, supernet)
    subnet = evaluator.subnet(architecture)
    exported = to_onnx(subnet, architecture, evaluator.input_shape(architecture))
    latency = fit_latency(run.space, profile).predictor
    measurement = measure_models([exported.model], profile.target.threads)[0]
    folder, manifest = export_subnet(
        run,
        exported,
        measurement,
        supernet=supernet,
        evaluator=evaluator,
        profile=profile,
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
    )


def _tightest(
    folder: Path, supernet_sha256: object, budget_ms: float | None, measurement: Timing
) -> float | None:
    """Of this budget and the one an earlier export states, the tighter one still kept."""
    if not (folder / MANIFEST_NAME).is_file():
        return budget_ms
    earlier = Manifest.load(folder / MANIFEST_NAME)
    known = earlier.budget_ms
    if earlier.made_from.get("supernet") != supernet_sha256 or known is None:
        return budget_ms
    if not measurement.keeps(known):
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


def _reference(subnet: fx.GraphModule, images: Tensor) -> bytes:
    with torch.no_grad():
        logits = subnet(images)
    buffer = io.BytesIO()
    np.savez(buffer, inputs=images.contiguous().numpy(), logits=logits.numpy())
    return buffer.getvalue()

"""A subnet leaves as a folder whose models were proven equal to it and timed; or it does not
leave.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from hardware_profiles.measure_plan import measure_workloads
from hardware_profiles.profile_device import CPU_PROVIDER
from hardware_profiles.runtimes.runtime import Runtime
from hardware_profiles.target import Target
from nas.artifacts import fitted_latency, supernet_hash
from nas.device import run_device
from nas.exporting import plan
from nas.exporting.compared import Compared, compare_models
from nas.exporting.earlier import (
    Timing,
    find_earlier,
    still_there,
    tightest_budget,
    wanted_budgets,
    with_earlier,
)
from nas.exporting.engines import Engines, earlier_engines, make_engine
from nas.exporting.folder import companions, licences_of, preprocessing_of, write_folder
from nas.exporting.folder_readme import readme
from nas.exporting.gate import check_preprocessing, check_source, check_state
from nas.exporting.in_memory import Exported, export_in_memory
from nas.exporting.manifest import (
    MANIFEST_NAME,
    README_NAME,
    InputTensor,
    Manifest,
    MeasuredLatency,
    WantedBudget,
)
from nas.exporting.model_file import stamped
from nas.exporting.model_options import PLAIN
from nas.exporting.model_set import joined, make_models, measure_further
from nas.exporting.plan_info import GpuSetup
from nas.exporting.request import PLAIN_REQUEST, ExportRequest
from nas.exporting.trial import Trial
from nas.finetuning.fine_tuned import Weights, best_weights, load_inherited
from nas.results import ExportResult
from nas.run_directory import Run, library_versions
from search_spaces import Architecture, InputError
from search_spaces.errors import ParityError


def export_subnet(
    run: Run,
    exported: Exported,
    measured: tuple[Target, Timing] | None,
    *,
    weights: Weights,
    profile_sha256: str,
    predicted_latency_ms: float,
    budget_ms: float | None,
    wanted: WantedBudget | None = None,
    request: ExportRequest = PLAIN_REQUEST,
    runtime: Runtime | None = None,
    setup: GpuSetup | None = None,
) -> tuple[Path, Manifest]:
    """Pass the gate, then write `subnets/ID/` with models, reference outputs and manifest.

    Args:
        measured: the target and what was measured of `exported` on it; None where the device is
            elsewhere.
        weights: what it was extracted from.
        budget_ms: what the measurement kept; None where it was made without a budget. A folder that
            is there and kept a tighter one goes on stating that.
        wanted: what a search was asked for, on whatever target.
        request: further files, beside the plain one and those that the folder has.
        runtime: measures those.
        setup: the GPU that an engine is built on.

    Raises:
        InputError: what this network or this target has no file for.
        ParityError: supernet, subnet and a file disagree, or a budget is missed; nothing is
            written.
    """
    evaluator = weights.evaluator
    if budget_ms is not None and measured is not None and not measured[1].keeps(budget_ms):
        raise ParityError(
            f"{exported.architecture}: the typical pass takes "
            f"{measured[1].latency_ms * (1 + measured[1].noise):.4g} ms, budget {budget_ms:.4g} ms"
        )
    trial, folder = Trial(exported, evaluator), run.subnets_path / exported.architecture.id
    source = check_source(trial, weights.network)
    made_from = _made_from(run, exported, weights, profile_sha256)
    earlier = find_earlier(folder, made_from)
    budgets = wanted_budgets(earlier, wanted)
    if measured is None and earlier is not None and request.is_plain:
        # which may state a measurement on another device
        kept = earlier.model_copy(update={"wanted": budgets})
        if kept != earlier:
            kept.save(folder / MANIFEST_NAME)
        return folder, kept
    steps = preprocessing_of(run.data, exported)
    score = evaluator.score(exported.subnet, exported.architecture, "validation")
    target = measured[0] if measured else wanted.target if wanted else None
    plain = stamped(exported.model, _properties(trial, score.accuracy, target))
    provider = runtime.target.provider if runtime else CPU_PROVIDER
    models = make_models(trial, plain, [PLAIN, *request.files], steps, provider)
    check_state(exported.subnet, evaluator.subnet(exported.architecture))
    check_preprocessing(trial, steps)
    budget = tightest_budget(earlier, budget_ms, measured)
    fresh = [*_measured(measured), *measure_further(trial, models, request.files, runtime, budget)]
    compared: Compared | None = None
    if request.compared and runtime is not None:
        compared = compare_models(trial, models, request, steps, runtime, budget)
        models = joined(models, compared.models)
        fresh += compared.measured
    engines = Engines()
    if request.engine is not None and setup is not None:
        engines = make_engine(trial, plain, request.engine, setup)
        fresh += engines.measured
    models, known = with_earlier(models, folder, earlier)
    left = earlier_engines(folder, earlier, models.contents)
    known += left.measured
    known = tuple(one for one in known if one.file not in engines.entries)  # of another engine
    renewed = {(one.file, one.target.id) for one in fresh}
    precisions = compared.comparison if compared else earlier.precisions if earlier else None
    files = {**models.contents, **left.contents, **engines.contents, **companions(trial)}
    manifest = Manifest(
        space=exported.architecture.space,
        architecture_id=exported.architecture.id,
        files=_hashes(files),
        models=models.entries,
        engines={**left.entries, **engines.entries},
        parity=source | models.parities,
        costs=run.space.layers.costs(run.space.encode(exported.architecture)).row(0),
        metric=evaluator.task.metric,
        classification=evaluator.task.classification,
        weights=weights.kind,
        validation_accuracy=score.accuracy,
        test_accuracy=evaluator.score(exported.subnet, exported.architecture, "test").accuracy,
        predicted_latency_ms=predicted_latency_ms,
        measured=(*fresh, *(one for one in known if (one.file, one.target.id) not in renewed)),
        precisions=None if precisions is None else still_there(precisions, files),
        budget_ms=budget,
        wanted=budgets,
        inputs={
            name: InputTensor(shape=spec.shape, dtype=spec.dtype, free=spec.free)
            for name, spec in exported.inputs.items()
        },
        outputs=exported.outputs,
        preprocessing=steps,
        class_names=run.data.class_names,
        licences=licences_of(run.recipe.data.source),
        made_from=made_from,
    )
    files[README_NAME] = readme(manifest)
    manifest = manifest.model_copy(update={"files": _hashes(files)})
    write_folder(folder, {**files, MANIFEST_NAME: manifest.to_bytes()})
    return folder, manifest


def export_architecture(
    run: Run,
    architecture: Architecture,
    inherited_only: bool = False,
    request: ExportRequest = PLAIN_REQUEST,
) -> ExportResult:
    """Extract, calibrate, emit, measure and write one subnet, without a budget.

    Args:
        inherited_only: take the supernet's weights, also where fine-tuned ones are there.
        request: further files.

    Raises:
        MissingExtraError: TensorRT, for an engine, is not installed.
        InputError: what this network, this target or this machine has no file for.
        ParityError: supernet, subnet and file disagree; nothing is written.
    """
    setup = plan.gpu_setup() if request.engine else None  # before anything that takes time
    device, inherited = run_device(run), load_inherited(run)
    assert device.runtime is not None  # a run's own profile is of this machine
    check_target(device.runtime.target, request)
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
        request=request,
        runtime=device.runtime,
        setup=setup,
    )
    comparison = manifest.precisions if request.compared else None
    return ExportResult(
        directory=str(folder),
        files=manifest.files,
        models={name: one.model_dump(mode="json") for name, one in manifest.models.items()},
        parity={
            name: {
                "max_abs_difference": parity.max_abs_difference,
                "top1_agreement": parity.top1_agreement,
            }
            for name, parity in manifest.parity.items()
        },
        measured_latency_ms=measurement.latency_ms,
        weights=weights.kind,
        engines={name: one.model_dump(mode="json") for name, one in manifest.engines.items()},
        precisions=tuple(row.model_dump(mode="json") for row in comparison.rows)
        if comparison
        else (),
        metric=manifest.metric,
        recommended=comparison.recommended if comparison else None,
        reason=comparison.reason if comparison else "",
    )


def check_target(target: Target, request: ExportRequest) -> None:
    """Refuse files that cannot be measured on the run's target.

    Raises:
        InputError: it runs other files.
    """
    if request.options and target.runtime != "onnxruntime":
        raise InputError(
            f"{request.options[-1].file_name} runs under ONNX Runtime, and this run's target is "
            f"{target}; profile under onnxruntime, or export without options"
        )


def _made_from(
    run: Run, exported: Exported, weights: Weights, profile_sha256: str
) -> dict[str, object]:
    made_from: dict[str, object] = {
        "supernet": supernet_hash(run),
        "profile": profile_sha256,
        "seed": run.recipe.seed,
        "data": run.data_sha256,
        "versions": library_versions(),
        "graph": sha256(exported.model).hexdigest(),  # before it was stamped
    }
    if weights.checkpoint_sha256 is not None:
        made_from["fine_tuned"] = weights.checkpoint_sha256
    return made_from


def _properties(trial: Trial, accuracy: float, target: Target | None) -> dict[str, str]:
    """Return what a file says of itself beside its architecture."""
    data, task = trial.evaluator.data, trial.evaluator.task
    return {
        "class_names": json.dumps(list(data.class_names)),
        "metric": task.metric,
        "validation_accuracy": repr(accuracy),
        "target": "" if target is None else str(target),
    }


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(content).hexdigest() for name, content in files.items()}


def _measured(measured: tuple[Target, Timing] | None) -> list[MeasuredLatency]:
    if measured is None:
        return []
    target, timing = measured
    return [MeasuredLatency(target=target, latency_ms=timing.latency_ms, noise=timing.noise)]

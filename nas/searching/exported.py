"""What a search found leaves as a verified folder, with fine-tuned weights where it has them."""

from hardware_profiles.measure_plan import measure_workloads
from nas.exporting.earlier import Timing, manifest_of_now
from nas.exporting.export import export_subnet
from nas.exporting.in_memory import Exported, export_in_memory
from nas.exporting.manifest import MODEL_NAME, WantedBudget
from nas.finetuning.fine_tuned import Weights, best_weights, fine_tuned_hash, load_inherited
from nas.progress import say
from nas.results import Candidate, SearchResult, Winner
from nas.run_directory import Run
from nas.searching.known_architectures import known_architectures
from nas.searching.setting import SearchSetting


def export_winner(
    setting: SearchSetting,
    exported: Exported,
    weights: Weights,
    measured: Timing,
    predicted_ms: float,
) -> Winner:
    """Write the folder of a subnet that was measured to keep the budget.

    Raises:
        ParityError: network, subnet and file disagree; nothing is written.
    """
    folder, manifest = export_subnet(
        setting.run,
        exported,
        (setting.device.target, measured),
        weights=weights,
        profile_sha256=setting.device.profile_sha256,
        predicted_latency_ms=predicted_ms,
        budget_ms=setting.budget_ms,
    )
    return Winner(
        architecture_id=manifest.architecture_id,
        model_path=str((folder / MODEL_NAME).relative_to(setting.run.path)),
        validation_accuracy=manifest.validation_accuracy,
        test_accuracy=manifest.test_accuracy,
        predicted_latency_ms=predicted_ms,
        measured_latency_ms=measured.latency_ms,
        noise=measured.noise,
        kept=True,
        metric=manifest.metric,
        weights=manifest.weights,
    )


def export_candidate(
    setting: SearchSetting,
    exported: Exported,
    weights: Weights,
    predicted_ms: float,
    predicted_upper_ms: float,
) -> Candidate:
    """Write the folder of a subnet that is predicted to keep the budget of a device elsewhere.

    Raises:
        ParityError: network, subnet and file disagree; nothing is written.
    """
    folder, manifest = export_subnet(
        setting.run,
        exported,
        None,
        weights=weights,
        profile_sha256=setting.device.profile_sha256,
        predicted_latency_ms=predicted_ms,
        budget_ms=None,  # nothing was measured that could have kept it
        wanted=WantedBudget(target=setting.device.target, budget_ms=setting.budget_ms),
    )
    return Candidate(
        architecture_id=manifest.architecture_id,
        model_path=str((folder / MODEL_NAME).relative_to(setting.run.path)),
        validation_accuracy=manifest.validation_accuracy,
        test_accuracy=manifest.test_accuracy,
        predicted_latency_ms=predicted_ms,
        predicted_upper_ms=predicted_upper_ms,
        metric=manifest.metric,
        weights=manifest.weights,
    )


def with_weights_of_now(setting: SearchSetting, result: SearchResult) -> SearchResult | None:
    """Return an earlier result whose subnet is exported with the weights that it has now; it is
    exported anew where it was fine-tuned since, or exported with others.

    None where it then misses the budget.
    """
    run, runtime, found = setting.run, setting.device.runtime, result.winner or result.candidate
    assert found is not None
    if _is_exported(run, found):
        return result
    architecture = known_architectures(run).get(found.architecture_id)
    if architecture is None:  # known from a front that another search has replaced
        return None
    weights = best_weights(run, architecture, load_inherited(run))
    say(f"            exporting {architecture} again, with {weights.kind} weights")
    exported = export_in_memory(weights.evaluator, architecture)
    predicted = found.predicted_latency_ms
    if isinstance(found, Candidate):
        upper = found.predicted_upper_ms
        candidate = export_candidate(setting, exported, weights, predicted, upper)
        return result.model_copy(update={"candidate": candidate})
    assert runtime is not None
    measured = measure_workloads(runtime, [exported.workload])[0]
    if not measured.keeps(result.budget_ms):
        return None
    winner = export_winner(setting, exported, weights, measured, predicted)
    return result.model_copy(update={"winner": winner})


def _is_exported(run: Run, found: Winner | Candidate) -> bool:
    manifest = manifest_of_now((run.path / found.model_path).parent)
    if manifest is None:
        return False
    same = manifest.made_from.get("fine_tuned") == fine_tuned_hash(run, found.architecture_id)
    return same and manifest.weights == found.weights

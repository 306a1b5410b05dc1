"""What earlier stages left in a run directory, loaded and checked."""

import torch

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile import Profile
from hardware_profiles.target import this_machine
from nas.fitted_predictors import (
    FittedAccuracy,
    FittedLatency,
    PredictorFile,
    fit_accuracy,
    fit_latency,
)
from nas.run_directory import Run
from nas.subnet.evaluator import SubnetEvaluator
from nas.subnet.sample import load_samples
from nas.training.checkpoint import load_checkpoint, read_state
from nas.training.trainer import load_weights
from search_spaces import InputError
from search_spaces.supernet import Supernet


def new_supernet(run: Run) -> Supernet:
    """Return an untrained supernet, initialised from the run's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(run.recipe.seed)
        return Supernet(run.space)


def load_supernet(run: Run) -> Supernet:
    """Return the trained supernet.

    Raises:
        InputError: not trained to the end yet, or a damaged checkpoint.
    """
    supernet_hash(run)
    tensors, _ = load_checkpoint(run.checkpoint_path, run.space.name)
    supernet = new_supernet(run)
    load_weights(supernet, tensors, run.checkpoint_path)
    return supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def supernet_hash(run: Run) -> str:
    """Return the SHA-256 that names the trained supernet.

    Raises:
        InputError: not trained to the end yet.
    """
    state = read_state(run.checkpoint_path)
    if state["epoch"] < state["epochs"]:
        raise InputError(
            f"{run.path}: trained for {state['epoch']} of {state['epochs']} epochs; "
            f"finish with `nas train {run.path}`"
        )
    return str(state["sha256"])


def subnet_evaluator(run: Run, supernet: Supernet) -> SubnetEvaluator:
    """Return the evaluator with the run's calibration images."""
    return SubnetEvaluator(
        supernet, run.data, run.recipe.accuracy.calibration_images, run.recipe.seed
    )


def load_profile(run: Run) -> Profile:
    """Return the run's profile, checked to be of its space and of this machine.

    Raises:
        InputError: absent, damaged, of another space, or measured elsewhere.
    """
    if not run.profile_path.exists():
        raise InputError(
            f"{run.path} has no profile; make it with `nas profile measure {run.path}`"
        )
    profile = Profile.load(run.profile_path)
    profile.check_space(run.space)
    here = this_machine(profile.target.threads)
    if profile.target.id != here.id:
        raise InputError(
            f"{run.profile_path} was measured on {profile.target}; this is {here}; "
            f"measure here with `nas profile measure {run.path}`"
        )
    return profile


def fitted_accuracy(run: Run) -> FittedAccuracy:
    """Return the accuracy predictor, fitted on the logged samples of the trained supernet."""
    samples = load_samples(run.accuracy_samples, run.space, supernet_hash(run))
    return fit_accuracy(run.space, samples, run.recipe.accuracy.predictor, run.recipe.seed)


def fitted_latency(run: Run) -> FittedLatency:
    """Return the latency predictor, fitted on the run's profile."""
    return fit_latency(run.space, load_profile(run))


def save_predictors(run: Run, accuracy: FittedAccuracy, latency: FittedLatency) -> None:
    """Write what both predictors were made from and their stated errors."""
    seed = run.recipe.seed
    PredictorFile(
        predicts=accuracy.quantity,
        predictor=run.recipe.accuracy.predictor,
        seed=seed,
        samples=len(accuracy.measured),
        made_from={
            "supernet": supernet_hash(run),
            "accuracy_samples.jsonl": file_hash(run.accuracy_samples.path),
        },
        error=accuracy.report,
        notes={f"repeatability_{name}": tau for name, tau in accuracy.repeatability.items()},
    ).save(run.predictors_path / "accuracy.json")
    fill = latency.layer_fill
    PredictorFile(
        predicts="latency_ms",
        predictor="calibrated-table",
        seed=seed,
        samples=latency.num_fitted,
        made_from={"profile.json": file_hash(run.profile_path)},
        error=latency.report,
        notes={"unmeasured_layers_mape": fill.mape} if fill else {},
    ).save(run.predictors_path / "latency.json")

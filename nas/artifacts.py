"""What earlier stages left in a run directory, loaded and checked."""

import numpy as np
import numpy.typing as npt
import torch

from hardware_profiles.artifact import file_hash
from hardware_profiles.store import profile_path
from nas.device import Device, run_device
from nas.fitted_latency import FittedLatency, fit_latency
from nas.fitted_predictors import FittedAccuracy, PredictorFile, fit_accuracy
from nas.known_targets import known_targets
from nas.run_directory import Run, open_run
from nas.subnet.evaluator import SubnetEvaluator
from nas.subnet.proxy_scores import ProxyScores, drawn_batch
from nas.subnet.sample import load_samples
from nas.training.checkpoint import load_checkpoint, read_state
from nas.training.starting_weights import load_weights, start_from
from nas.training.strategy import Judge
from search_spaces import InputError, Population
from search_spaces.conversion.space_file import WEIGHTS_NAME
from search_spaces.residual_norms import zero_last_norms
from search_spaces.supernet import Supernet


def new_supernet(run: Run) -> Supernet:
    """Return an untrained supernet, initialised from the run's seed.

    Raises:
        InputError: last norms are to be zero, and the space has no residual blocks.
    """
    with torch.random.fork_rng():
        torch.manual_seed(run.recipe.seed)
        supernet = Supernet(run.space, run.recipe.training.kernel_transform)
    if run.network_folder is not None:
        start_from(supernet, run.network_folder / WEIGHTS_NAME, False)
    if run.recipe.training.zero_last_norm and not zero_last_norms(supernet):
        raise InputError(
            f"training.zero_last_norm is of residual blocks, and {run.space.name} has none: "
            "set it to false"
        )
    return supernet


def load_supernet(run: Run) -> Supernet:
    """Return the trained supernet.

    Raises:
        InputError: not trained to the end yet, or a damaged checkpoint.
    """
    supernet_hash(run)
    tensors, _ = load_checkpoint(run.checkpoint_path, run.space.name, _repair(run))
    supernet = new_supernet(run)
    load_weights(supernet, tensors, run.checkpoint_path)
    return supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def supernet_hash(run: Run) -> str:
    """Return the SHA-256 that names the trained supernet.

    Raises:
        InputError: not trained to the end yet.
    """
    state = read_state(run.checkpoint_path, _repair(run))
    if state["epoch"] < state["epochs"]:
        raise InputError(
            f"{run.path}: trained for {state['epoch']} of {state['epochs']} epochs; "
            f"finish with `nas train {run.path}`"
        )
    return str(state["sha256"])


def _repair(run: Run) -> str:
    return f"`nas train {run.path}` goes on from the one before it"


def subnet_evaluator(run: Run, supernet: Supernet) -> SubnetEvaluator:
    """Return the evaluator with the run's data and task."""
    return SubnetEvaluator(
        supernet,
        run.data,
        run.task,
        run.recipe.accuracy.calibration_samples,
        run.recipe.seed,
    )


def proxy_scores(run: Run, trained: bool = False) -> ProxyScores:
    """Return zero-cost proxies on the run's data: on first weights, or on the trained ones."""
    batch = drawn_batch(run.data, run.task, run.recipe.seed)
    supernet = (load_supernet(run), supernet_hash(run)) if trained else None
    return ProxyScores(run.space, batch, run.proxy_scores, run.recipe.seed, supernet)


def fitted_accuracy(run: Run) -> FittedAccuracy:
    """Return the accuracy predictor, fitted on the logged samples of the trained supernet."""
    config = run.recipe.accuracy
    samples = load_samples(run.accuracy_samples, run.space, supernet_hash(run))
    features = proxy_scores(run).encoding(config.proxies) if config.proxies else None
    return fit_accuracy(run.space, samples, config.predictor, run.recipe.seed, features)


def predicting_judge(judge: str, space: str) -> Judge:
    """Return what judges candidates of a training: the accuracy predictor of another run.

    Args:
        judge: directory of that run.
        space: versioned name of the search space that both are to have.

    Raises:
        InputError: no run there, of another space, or without measured subnets.
    """
    run = open_run(judge)
    if run.space.name != space:
        raise InputError(
            f"training.judge: expected a run of {space}, got {judge} of {run.space.name}"
        )
    try:
        predictor = fitted_accuracy(run).predictor
    except InputError as error:
        raise InputError(
            f"training.judge: expected a run with measured subnets, or loss; {error}"
        ) from None

    def expected(population: Population) -> npt.NDArray[np.float64]:
        return predictor.predict(population).mean

    return expected


def fitted_latency(run: Run, device: Device | None = None) -> FittedLatency:
    """Return the latency predictor, fitted on a device's profile; the run's own without."""
    device = device or run_device(run)
    known = known_targets(run.space, device.profile)
    return fit_latency(run.space, device.profile, run.recipe.profile.predictor, known)


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
        predictor=latency.method,
        seed=seed,
        samples=len(latency.fitted_on[1]),
        made_from={
            "profile.json": file_hash(run.profile_path),
            **{f"known {name}": file_hash(profile_path(name)) for name in latency.known},
        },
        error=latency.report,
        notes={"unmeasured_layers_mape": fill.mape} if fill else {},
    ).save(run.predictors_path / "latency.json")

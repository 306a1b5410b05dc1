"""The plain model file in another precision, tried on the subnet's own samples."""

from collections.abc import Callable

from hardware_profiles.profile_device import CPU_PROVIDER, onnx_session
from nas.exporting.manifest import Conversion
from nas.exporting.model_file import at_opset
from nas.exporting.model_options import ModelOptions, Preprocessing
from nas.exporting.parity import Array, run_session
from nas.exporting.plan_model import carried_precision, read_model
from nas.exporting.precisions import PRECISIONS, Converted, Settings
from nas.exporting.trial import Trial
from nas.progress import progress_bar
from search_spaces import InputError

CALIBRATION_SAMPLES = 256  # of validation, at most
EVALUATION_BATCH = 64


def convert(
    trial: Trial,
    plain: bytes,
    options: ModelOptions,
    provider: str | None,
    scheme: str | None = None,
) -> Converted:
    """Return the plain file in the precision and at the opset of `options`.

    Args:
        plain: the stamped file.
        provider: ONNX Runtime's that it is for; None where another runtime computes.
        scheme: of int8; by default that of this machine's processor.

    Raises:
        InputError: this network or this provider has no file of the precision, no layer can stay in
            it without costing too much, the data have too few samples, or the opset cannot be had.
    """
    precision = options.precision
    model = at_opset(plain, options.opset)
    with progress_bar(precision, 1) as advance:
        settings = Settings(
            evaluate=metric_on_validation(trial, "outside", provider or CPU_PROVIDER),
            provider=provider,
            scheme=scheme,
            progress=lambda done, total, note: advance(done, note, total),
        )
        converted = PRECISIONS[precision](model, calibration_samples(trial), settings)
    if carried_precision(read_model(converted.model)) != precision:
        raise InputError(
            f"no layer of this network can stay in {precision}: {'; '.join(converted.notes)}"
        )
    return converted


def calibration_samples(trial: Trial) -> dict[str, Array]:
    """Return validation samples as the network takes them, by name of its inputs."""
    feeds = trial.feeds("outside")
    return {name: one[:CALIBRATION_SAMPLES] for name, one in feeds.items()}


def metric_on_validation(
    trial: Trial, preprocessing: Preprocessing, provider: str = CPU_PROVIDER
) -> Callable[[bytes], float]:
    """Return what judges a model file on the samples of a trial, as the run's task does."""

    def evaluate(model: bytes) -> float:
        session = onnx_session(model, provider=provider)
        outputs = run_session(session, trial.feeds(preprocessing), EVALUATION_BATCH)
        return trial.score(outputs).accuracy

    return evaluate


def conversion_of(converted: Converted) -> Conversion:
    """Return what a manifest states of a conversion."""
    return Conversion(
        method=converted.method,
        scheme=converted.scheme,
        kept_float=converted.kept_float,
        accuracy_before=converted.accuracy_before,
        accuracy_after=converted.accuracy_after,
        num_evaluations=converted.num_evaluations,
        notes=converted.notes,
    )

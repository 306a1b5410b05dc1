"""Supernet, subnet and every file answer alike, or nothing leaves."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from hardware_profiles.profile_device import CPU_PROVIDER, onnx_session
from nas.data import Inputs
from nas.exporting.in_memory import Exported
from nas.exporting.limits import limits_of
from nas.exporting.manifest import Preprocessing
from nas.exporting.model_options import PLAIN, ModelOptions
from nas.exporting.parity import LEAST_LIMIT, Array, Parity, compare, gate, run_session
from nas.exporting.predict import prepare
from nas.exporting.trial import Trial, named_arrays, raw_arrays
from nas.subnet.calibrate import batch_statistics
from nas.subnet.evaluator import SubnetEvaluator, run_in_batches
from search_spaces.errors import ParityError
from search_spaces.layer_kind import TensorSpec
from search_spaces.supernet import Supernet

PARITY_BATCH_SIZE = 64
RANDOM_BATCH_SIZES = (1, 2, 5, 16)
LEAST_FREE_SIZE = 4  # of what is tried on an axis of free size
STATE_TOLERANCE = 1e-3  # of a weight or statistic that is computed anew, relative
PREPARED_TOLERANCE = 1e-4  # of inputs that are made as the manifest says, relative beyond 1


@dataclass(frozen=True)
class Checked:
    """What the gate found of one model file."""

    parities: dict[str, Parity]  # on real samples, by batch
    random: Parity
    accuracy: float
    accuracy_difference: float

    @property
    def worst(self) -> Parity:
        """Return the parity on real samples that is closest to its limit."""
        return worst_of(self.parities.values())


def worst_of(parities: Iterable[Parity]) -> Parity:
    """Return the one that is closest to its limit, or beyond it."""
    return max(
        parities, key=lambda one: (not one.ok, one.max_abs_difference / max(one.limit, LEAST_LIMIT))
    )


def check_parity(
    exported: Exported, supernet: Supernet, evaluator: SubnetEvaluator
) -> dict[str, Parity]:
    """Compare supernet, subnet and plain file on validation samples; where an axis of an input is
    of free size, subnet and file at another size too. The subnet's weights and norm statistics are
    those that the supernet and the calibration samples give.

    Args:
        supernet: what the subnet was extracted from; of fine-tuned weights the network of one
            architecture that holds them.

    Raises:
        ParityError: one of them answers differently.
    """
    trial = Trial(exported, evaluator)
    parities = check_source(trial, supernet) | check_file(exported.model, PLAIN, trial).parities
    check_state(exported.subnet, evaluator.subnet(exported.architecture))
    return parities


def check_source(trial: Trial, supernet: Supernet) -> dict[str, Parity]:
    """Compare the subnet with what it was extracted from.

    Raises:
        ParityError: they answer differently.
    """
    batch = tuple(_at_least(one, 8)[:PARITY_BATCH_SIZE] for one in trial.inputs)
    source = "supernet" if supernet.only is None else "fine-tuned network"
    classes = trial.evaluator.task.classification
    parity = supernet_parity(supernet, trial.exported, batch, classes)
    gate([(source, parity)])
    return {source: parity}


def check_state(subnet: fx.GraphModule, anew: fx.GraphModule) -> None:
    """Check that a subnet has the weights and norm statistics of one that was extracted and
    calibrated just now.

    Raises:
        ParityError: norms that were not calibrated, weights of another checkpoint, other channels.
    """
    found, wanted = subnet.state_dict(), anew.state_dict()
    if {name: one.shape for name, one in found.items()} != {
        name: one.shape for name, one in wanted.items()
    }:
        raise ParityError("subnet: its layers or channels are not those of the architecture")
    for name, value in wanted.items():
        if not value.is_floating_point():
            continue
        scale = max(float(value.abs().max()), LEAST_LIMIT) if value.numel() else 1.0
        difference = float((found[name] - value).abs().max()) if value.numel() else 0.0
        if not difference <= STATE_TOLERANCE * scale:
            what = "statistics" if "running" in name else "weights"
            raise ParityError(
                f"subnet: the {what} {name} differ by {difference:.3g} from those that extraction "
                "and calibration give now"
            )


def check_preprocessing(trial: Trial, steps: Preprocessing) -> None:
    """Check that the manifest's way of making inputs, as `predict.py` goes it, gives the inputs
    that the subnet was trained on.

    Raises:
        ParityError: another mean or deviation, order of channels or size.
    """
    inputs = {
        name: {"shape": spec.shape, "dtype": spec.dtype}
        for name, spec in trial.exported.inputs.items()
    }
    made = prepare(raw_arrays(trial.raw), steps.model_dump(mode="json"), inputs)
    for name, wanted in trial.feeds("outside").items():
        found = made.get(name)
        if found is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ParityError(f"preprocessing: what the manifest says gives no {name}")
        limit = PREPARED_TOLERANCE * max(1.0, float(abs(wanted).max()))
        difference = float(abs(found - wanted).max())
        if not difference <= limit:
            raise ParityError(
                f"preprocessing: what the manifest says gives inputs that differ by "
                f"{difference:.3g} (limit {limit:.3g}) from those that the network was trained on"
            )


def check_file(
    model: bytes, options: ModelOptions, trial: Trial, provider: str = CPU_PROVIDER
) -> Checked:
    """Compare a model file with the subnet: real samples at several batch sizes, random ones, and
    the metric of both.

    Args:
        provider: ONNX Runtime's that answers.

    Raises:
        ParityError: it answers differently; the file and what was compared are named.
    """
    name, exported, task = options.file_name, trial.exported, trial.evaluator.task
    precision, classes = options.precision, task.classification
    session = onnx_session(model, provider=provider)
    feeds = trial.feeds(options.preprocessing)
    parities: dict[str, Parity] = {}
    outputs: dict[str, Array] = {}
    for size in (options.batch,) if options.batch else (1, PARITY_BATCH_SIZE):
        outputs = run_session(session, feeds, size)
        found = compare(outputs, trial.expected, classes, precision)
        parities[f"{name} batch {size}"] = found
    resized = other_sizes(trial.inputs, exported.inputs.values())
    if resized is not None:
        expected = named_arrays(exported.outputs, run_in_batches(exported.subnet, resized))
        arrays = named_arrays(tuple(exported.inputs), resized)
        found = compare(
            run_session(session, arrays, PARITY_BATCH_SIZE), expected, classes, precision
        )
        parities[f"{name} at another size"] = found
    gate(list(parities.items()))
    randoms = [
        compare(
            run_session(session, arrays, RANDOM_BATCH_SIZES[i % len(RANDOM_BATCH_SIZES)]),
            expected,
            classes,
            precision,
            random=True,
        )
        for i, (arrays, expected) in enumerate(trial.random(options.preprocessing))
    ]
    random = worst_of(randoms).model_copy(update={"n": sum(one.n for one in randoms)})
    gate([(f"{name} on random inputs", random)])
    accuracy, wanted = trial.score(outputs).accuracy, trial.score(trial.expected).accuracy
    most = limits_of(precision).accuracy + 1 / len(trial.raw)
    if not wanted - accuracy <= most:
        raise ParityError(
            f"{name}: its {task.metric} of {accuracy:.4g} on {len(trial.raw)} validation samples "
            f"is {wanted - accuracy:.4g} below the subnet's (limit {most:.4g})"
        )
    return Checked(parities, random, accuracy, wanted - accuracy)


def supernet_parity(
    supernet: Supernet, exported: Exported, inputs: Inputs, classification: bool = True
) -> Parity:
    """Compare supernet and extracted subnet, both on the statistics of one batch of at least 8.

    The subnet's norm statistics are restored afterwards.
    """
    assert len(inputs[0]) >= 8, "norms need a batch"
    subnet = exported.subnet
    state = {name: value.clone() for name, value in subnet.state_dict().items()}
    try:
        with batch_statistics(subnet), torch.no_grad():
            expected = supernet(inputs, exported.architecture)
            found = subnet(*inputs)
    finally:
        subnet.load_state_dict(state)
    names = exported.outputs
    return compare(named_arrays(names, found), named_arrays(names, expected), classification)


def other_sizes(inputs: Inputs, specs: Iterable[TensorSpec]) -> Inputs | None:
    """Return the inputs cut to half along axes of free size; None where all sizes are fixed."""
    changed = False
    result = []
    for one, spec in zip(inputs, specs, strict=True):
        for position in spec.free:
            size = one.shape[position + 1]
            half = max(-(-size // 2), min(size - 1, LEAST_FREE_SIZE))
            one = one.narrow(position + 1, 0, half)
            changed = True
        result.append(one.contiguous())
    return tuple(result) if changed else None


def _at_least(samples: Tensor, n: int) -> Tensor:
    return samples if len(samples) >= n else torch.cat([samples] * n)

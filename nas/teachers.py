"""The external teachers of a run: subnets of other runs, and networks of the user's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hardware_profiles.artifact import file_hash
from nas.artifacts import load_supernet, supernet_hash
from nas.config import TrainingConfig
from nas.data import Dataset, input_tensors
from nas.data.dataset import NOUNS
from nas.run_directory import Run, open_run
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import CALIBRATION_BATCH_SIZE
from nas.training.batches import Batches
from nas.training.starting_weights import start_from
from nas.training.teachers import Teacher, normalisation_between
from search_spaces import InputError, SearchSpace
from search_spaces.conversion.space_file import WEIGHTS_NAME
from search_spaces.python_name import call, is_python_name, python_function, source_sha256
from search_spaces.supernet import Supernet, check_inputs, resize

NUM_SAMPLES = 2  # that a teacher is tried on
ORIGINAL = "original"
"""As a teacher: the network that the space was made of, as it was."""


def check_teachers(names: Sequence[str], space: SearchSpace, has_original: bool) -> None:
    """Check, without reading weights or data, that teachers are there and fit a space's networks.

    Raises:
        InputError: no such run or function; a run that is not trained to the end; other inputs or
            classes; several outputs on either side; an original where there is none.

    Args:
        has_original: whether the space was made of a network.
    """
    if names and len(space.outputs) > 1:
        raise InputError(
            f"training.teachers have one output, {space.name} has {', '.join(space.outputs)}; "
            "train without them"
        )
    for name in names:
        with _named():
            if name == ORIGINAL and not has_original:
                raise InputError(
                    f"{ORIGINAL!r} is the network that a space was made of (nas elasticize); "
                    f"{space.name} was not"
                )
            if name == ORIGINAL:
                continue
            if is_python_name(name):
                python_function(name)
            else:
                teacher_run = open_run(name)
                supernet_hash(teacher_run)
                _check_space(name, teacher_run.space, space)


def load_teachers(run: Run) -> tuple[Teacher, ...]:
    """Load what `training.teachers` of a run's recipe names, each tried on a few samples.

    A run's teacher is its largest subnet, calibrated on this run's augmented samples.

    Raises:
        InputError: as `check_teachers`; the run itself; outputs of other classes than the data's.
    """
    names = run.recipe.training.teachers
    if any(Path(name).resolve() == run.path.resolve() for name in names):
        raise InputError(
            f"training.teachers: {run.path} is the run itself, whose largest subnet teaches anyway"
        )
    check_teachers(names, run.space, run.network_folder is not None)
    return tuple(_load(name, run) for name in names)


def _load(name: str, run: Run) -> Teacher:
    with _named():
        if name == ORIGINAL:
            teacher = _original(run)
        else:
            teacher = _from_function(name) if is_python_name(name) else _from_run(name, run)
        _try_out(teacher, run)
    return teacher


def _original(run: Run) -> Teacher:
    """Return the network that a run's space was made of, with the statistics it came with."""
    assert run.network_folder is not None, "checked before"
    weights = run.network_folder / WEIGHTS_NAME
    with torch.random.fork_rng(devices=[]):
        supernet = Supernet(run.space)
    start_from(supernet, weights, False)
    largest = run.space.decode(run.space.largest()[0])
    network = supernet.extract(largest).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    specs = tuple(supernet.inputs(largest).values())
    return Teacher(ORIGINAL, network, file_hash(weights), specs)


@contextmanager
def _named() -> Iterator[None]:
    """Say in errors which setting they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"training.teachers: {error}") from error


def _from_function(name: str) -> Teacher:
    with torch.random.fork_rng(devices=[]):
        network = call(name, python_function(name))
    if not isinstance(network, nn.Module):
        raise InputError(f"{name}: expected a torch module, got {type(network).__name__}")
    return Teacher(name, network, source_sha256(name))


def _from_run(name: str, run: Run) -> Teacher:
    teacher_run = open_run(name)
    _check_meaning(name, teacher_run.data, run.data)
    supernet = load_supernet(teacher_run)
    largest = teacher_run.space.decode(teacher_run.space.largest()[0])
    specs = supernet.inputs(largest)
    given = resize(_samples(run.data), specs.values())
    check_inputs(specs, given, f"the largest subnet of {name}")
    return largest_teacher(
        name,
        supernet,
        run,
        run.recipe.training,
        sha256=supernet_hash(teacher_run),
        normalisation=normalisation_between(run.data, teacher_run.data),
    )


def largest_teacher(
    name: str,
    supernet: Supernet,
    run: Run,
    config: TrainingConfig,
    *,
    sha256: str | None = None,
    normalisation: tuple[Tensor, Tensor] | None = None,
) -> Teacher:
    """Return the largest subnet of a supernet, calibrated on what it will see as a teacher.

    That is augmented samples, whose statistics are not those of the plain ones that subnets are
    calibrated on to ship: on digits, the largest then errs on 9% of them instead of 0.2%, and what
    learns from it gets worse.

    Args:
        run: whose training samples it will see.
        config: of the training, whose augmentation it is.
        normalisation: from the inputs of `run` to those that the supernet was trained on.
    """
    largest = supernet.space.decode(supernet.space.largest()[0])
    specs = tuple(supernet.inputs(largest).values())
    subnet = supernet.extract(largest).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = Teacher(name, subnet, sha256, specs, normalisation)
    rng = np.random.default_rng([run.recipe.seed, 0x7EAC])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    order = rng.permutation(len(run.data.train))[: run.recipe.accuracy.calibration_samples]
    size = min(CALIBRATION_BATCH_SIZE, len(order))
    parts = (order[i * size : (i + 1) * size] for i in range(len(order) // size))
    draw = Batches(run.data, config, torch.device("cpu"))
    calibrate(subnet, (teacher.prepared(draw(part, generator)[0]) for part in parts))
    return teacher


def _check_space(name: str, theirs: SearchSpace, ours: SearchSpace) -> None:
    """Check what is known without the data; sizes that may be free are seen where it is tried."""
    if theirs.modality != ours.modality:
        raise InputError(
            f"{name} takes {NOUNS[theirs.modality]}, the data are {NOUNS[ours.modality]}"
        )
    if len(theirs.outputs) > 1:
        raise InputError(f"{name} has the outputs {', '.join(theirs.outputs)}; one can teach")
    for key in ("num_classes", "input_channels", "num_features", "vocabulary"):
        wanted = ours.settings.get(key)
        found = theirs.settings.get(key, wanted)
        if found != wanted and wanted is not None:
            noun = key.removeprefix("num_").replace("_", " ")
            raise InputError(f"{name} is for {found} {noun}, the data has {wanted}")


def _check_meaning(name: str, theirs: Dataset, ours: Dataset) -> None:
    """Check that classes and token ids mean the same."""
    if theirs.class_names != ours.class_names and set(theirs.class_names) == set(ours.class_names):
        raise InputError(
            f"{name} has the classes in another order than the data: "
            f"{', '.join(theirs.class_names)} and {', '.join(ours.class_names)}"
        )
    if theirs.tokenizer and ours.tokenizer and theirs.tokenizer != ours.tokenizer:
        raise InputError(f"{name} was trained on texts with another tokenizer than the data's")


def _try_out(teacher: Teacher, run: Run) -> None:
    """Check the outputs of a few samples."""
    outputs = call(teacher.name, teacher, _samples(run.data))
    if not isinstance(outputs, Tensor):
        got = f"{len(outputs)}" if isinstance(outputs, tuple) else type(outputs).__name__
        raise InputError(f"{teacher.name}: expected one output, a tensor, got {got}")
    if not run.task.classification:
        return
    if outputs.ndim != 2 or len(outputs) != NUM_SAMPLES:
        raise InputError(
            f"{teacher.name}: expected outputs {NUM_SAMPLES} x {run.data.num_classes} for "
            f"{NUM_SAMPLES} samples, got {tuple(outputs.shape)}"
        )
    if outputs.shape[1] != run.data.num_classes:
        raise InputError(
            f"{teacher.name} is for {outputs.shape[1]} classes, the data has {run.data.num_classes}"
        )


def _samples(data: Dataset) -> tuple[Tensor, ...]:
    return input_tensors(data, data.train, slice(NUM_SAMPLES))

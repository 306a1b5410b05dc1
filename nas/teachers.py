"""The external teachers of a run: subnets of other runs, and networks of the user's own."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.artifacts import load_supernet, subnet_evaluator, supernet_hash
from nas.data import Dataset, input_tensors
from nas.data.dataset import NOUNS
from nas.run_directory import Run, open_run
from nas.training.teachers import Teacher, normalisation_between
from search_spaces import InputError
from search_spaces.python_name import call, is_python_name, python_function, source_sha256
from search_spaces.supernet import check_inputs, resize

NUM_SAMPLES = 2  # that a teacher is tried on


def load_teachers(run: Run) -> tuple[Teacher, ...]:
    """Load what `training.teachers` of a run's recipe names, each tried on a few samples.

    A run's teacher is its largest subnet, extracted and calibrated on its own data.

    Raises:
        InputError: no such run or function; a run that is not trained to the end, or this one; a
            teacher of other inputs or classes than the data's, or with several outputs.
    """
    names, outputs = run.recipe.training.teachers, run.space.outputs
    if names and len(outputs) > 1:
        raise InputError(
            f"training.teachers have one output, {run.space.name} has {', '.join(outputs)}; "
            "train without them"
        )
    return tuple(_load(name, run) for name in names)


def _load(name: str, run: Run) -> Teacher:
    try:
        teacher = _from_function(name) if is_python_name(name) else _from_run(name, run)
        _try_out(teacher, run)
    except InputError as error:
        raise InputError(f"training.teachers: {error}") from error
    return teacher


def _from_function(name: str) -> Teacher:
    with torch.random.fork_rng(devices=[]):
        network = call(name, python_function(name))
    if not isinstance(network, nn.Module):
        raise InputError(f"{name}: expected a torch module, got {type(network).__name__}")
    return Teacher(name, network, source_sha256(name))


def _from_run(name: str, run: Run) -> Teacher:
    if Path(name).resolve() == run.path.resolve():
        raise InputError(f"{name} is the run itself, whose largest subnet teaches anyway; drop it")
    teacher_run = open_run(name)
    sha256 = supernet_hash(teacher_run)
    _check_data(name, teacher_run.data, run.data)
    supernet = load_supernet(teacher_run)
    largest = teacher_run.space.decode(teacher_run.space.largest()[0])
    specs = supernet.inputs(largest)
    given = resize(_samples(run.data), specs.values())
    check_inputs(specs, given, f"the largest subnet of {name}")
    subnet = subnet_evaluator(teacher_run, supernet).subnet(largest)
    return Teacher(
        name,
        subnet.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        sha256,
        tuple(specs.values()),
        normalisation_between(run.data, teacher_run.data),
    )


def _check_data(name: str, theirs: Dataset, ours: Dataset) -> None:
    """Check that the teacher's inputs and classes mean what those of the data mean."""
    if theirs.modality != ours.modality:
        raise InputError(
            f"{name} was trained on {NOUNS[theirs.modality]}, the data are {NOUNS[ours.modality]}"
        )
    if theirs.num_classes != ours.num_classes:
        raise _other_classes(name, theirs.num_classes, ours)
    if theirs.class_names != ours.class_names and set(theirs.class_names) == set(ours.class_names):
        raise InputError(
            f"{name} has the classes in another order than the data: "
            f"{', '.join(theirs.class_names)} and {', '.join(ours.class_names)}"
        )
    if theirs.vocabulary != ours.vocabulary:
        raise InputError(
            f"{name} has a vocabulary of {theirs.vocabulary}, the data one of {ours.vocabulary}"
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
        raise _other_classes(teacher.name, outputs.shape[1], run.data)


def _samples(data: Dataset) -> tuple[Tensor, ...]:
    return input_tensors(data, data.train, slice(NUM_SAMPLES))


def _other_classes(name: str, found: int, data: Dataset) -> InputError:
    return InputError(
        f"{name} has {found} classes, the data has {data.num_classes}; a teacher must have the same"
    )

"""The model files of one folder: made from the plain one, each through the gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nas.exporting.gate import Checked, check_file
from nas.exporting.manifest import InputTensor, Manifest, MeasuredLatency, ModelFile
from nas.exporting.manifest import Preprocessing as Steps
from nas.exporting.model_file import make_file
from nas.exporting.model_options import PLAIN, ModelOptions
from nas.exporting.parity import Parity
from nas.exporting.pixels import PIXELS_NAME
from nas.exporting.trial import Trial


@dataclass(frozen=True)
class ModelSet:
    """Model files that passed the gate, and what it found."""

    contents: dict[str, bytes]
    entries: dict[str, ModelFile]
    parities: dict[str, Parity]


def make_models(
    trial: Trial, plain: bytes, options: Sequence[ModelOptions], steps: Steps
) -> ModelSet:
    """Make the plain file and those that options ask for, and prove each equal to the subnet.

    Args:
        plain: the stamped file.

    Raises:
        InputError: options that this network has no file for.
        ParityError: a file is not sound, or answers differently.
    """
    found = ModelSet({}, {}, {})
    for one in dict.fromkeys([PLAIN, *options]):
        size = trial.raw.inputs[0].shape[2:]
        model, operators = make_file(plain, one, steps, size)
        checked = check_file(model, one, trial)
        name = one.file_name
        found.contents[name] = model
        found.entries[name] = _entry(trial, one, operators, checked)
        found.parities.update(checked.parities)
    return found


def _entry(
    trial: Trial, options: ModelOptions, operators: tuple[str, ...], checked: Checked
) -> ModelFile:
    inputs = {
        name: InputTensor(shape=spec.shape, dtype=spec.dtype, free=spec.free)
        for name, spec in trial.exported.inputs.items()
    }
    if options.preprocessing == "graph":
        channels, *size = trial.raw.inputs[0].shape[1:]
        inputs = {PIXELS_NAME: InputTensor(shape=(*size, channels), dtype="uint8")}
    return ModelFile(
        format=options.format,
        precision=options.precision,
        opset=options.opset,
        batch=options.batch,
        preprocessing=options.preprocessing,
        inputs=inputs,
        operators=operators,
        parity=checked.worst,
        random_parity=checked.random,
        accuracy=checked.accuracy,
        accuracy_difference=checked.accuracy_difference,
    )


def with_earlier(
    models: ModelSet, folder: Path, earlier: Manifest | None
) -> tuple[ModelSet, tuple[MeasuredLatency, ...]]:
    """Add the model files that an earlier export of the same plain file left, and return what was
    measured of all of them; what the disk no longer holds as it was is left out.
    """
    if earlier is None:
        return models, ()
    kept = dict(models.contents)
    for name in earlier.models:
        path = folder / name
        if name in kept or not path.is_file():
            continue
        content = path.read_bytes()
        if sha256(content).hexdigest() == earlier.files.get(name):
            kept[name] = content
    entries = {name: one for name, one in earlier.models.items() if name in kept} | models.entries
    of_them = {
        name: parity
        for name, parity in earlier.parity.items()
        if name.partition(" ")[0] in kept and name not in models.parities
    }
    same = {
        name
        for name, content in kept.items()
        if sha256(content).hexdigest() == earlier.files.get(name)
    }
    measured = tuple(one for one in earlier.measured if one.file in same)
    return ModelSet(
        kept, {name: entries[name] for name in kept}, models.parities | of_them
    ), measured

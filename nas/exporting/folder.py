"""The files of an exported folder beside its models, and how a folder appears whole."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardware_profiles import profile_device
from hardware_profiles.artifact import write_atomic, writing
from nas.data import Dataset
from nas.exporting import predict
from nas.exporting.in_memory import Exported
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    INPUT_PREFIX,
    OUTPUT_PREFIX,
    PREDICT_NAME,
    PROFILE_NAME,
    REFERENCE_NAME,
    SAMPLE_NAME,
    ArchitectureFile,
    ImagePreprocessing,
    Preprocessing,
    SequencePreprocessing,
    TokenPreprocessing,
)
from nas.exporting.parity import Array
from nas.exporting.trial import Trial, named_arrays, raw_arrays
from nas.subnet.evaluator import run_in_batches

NUM_REFERENCES = 32  # stored inputs and outputs, for `nas verify` anywhere; at most
LEAST_REFERENCES = 2
REFERENCE_BYTES = 4_000_000
LICENCES = {
    "digits": "handwritten digits of scikit-learn, from the UCI repository: CC BY 4.0",
    "docstrings": "docstrings of installed libraries, each under the licence of its library",
}


def companions(trial: Trial) -> dict[str, bytes]:
    """Return the files that lie beside the models, by name, all but README and manifest."""
    exported = trial.exported
    n = _num_references(trial)
    inputs = tuple(one[:n] for one in trial.inputs)
    answers = named_arrays(exported.outputs, run_in_batches(exported.subnet, inputs))
    arrays = {f"{INPUT_PREFIX}{k}": v for k, v in named_arrays(exported.inputs, inputs).items()}
    arrays |= {f"{OUTPUT_PREFIX}{name}": value for name, value in answers.items()}
    raw = [one[:n] for one in raw_arrays(trial.raw)]
    names = ("x",) if len(raw) == 1 else ("ids", "mask")
    architecture = exported.architecture.to_json()
    return {
        ARCHITECTURE_NAME: ArchitectureFile.model_validate(architecture).to_bytes(),
        REFERENCE_NAME: _npz(arrays),
        SAMPLE_NAME: _npz(dict(zip(names, raw, strict=True))),
        PREDICT_NAME: Path(predict.__file__).read_bytes(),
        PROFILE_NAME: Path(profile_device.__file__).read_bytes(),
    }


def _num_references(trial: Trial) -> int:
    """Return how many samples keep the references small."""
    one = sum(int(tensor[0].nbytes) for tensor in trial.inputs)
    one += sum(int(array[0].nbytes) for array in trial.expected.values())
    return min(NUM_REFERENCES, max(LEAST_REFERENCES, REFERENCE_BYTES // one))


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub
    return buffer.getvalue()


def preprocessing_of(data: Dataset, exported: Exported) -> Preprocessing:
    """Return how the model's inputs are made, as manifests state it."""
    first = next(iter(exported.inputs.values())).shape
    if data.modality == "tokens":
        return TokenPreprocessing(
            length=first[0], vocabulary=data.vocabulary, tokenizer=data.tokenizer
        )
    if data.modality == "sequence":
        return SequencePreprocessing(
            features=first[0], frames=first[1], mean=data.mean, std=data.std
        )
    channels, height, width = first
    return ImagePreprocessing(
        height=height, width=width, channels=channels, mean=data.mean, std=data.std
    )


def licences_of(source: str) -> dict[str, str]:
    """Return the licence notes that are known of a data source."""
    note = LICENCES.get(source.partition(":")[0])
    return {} if note is None else {"data": note}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files into a folder that appears whole or not at all.

    Raises:
        OSError: it cannot be written; the file is named, and what was there stays.
    """
    temporary, old = (folder.with_name(f".{folder.name}.{word}.tmp") for word in ("new", "old"))
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        for name, content in files.items():
            with writing(folder / name):
                write_atomic(temporary / name, content)
        with writing(folder):
            if folder.exists():
                folder.replace(old)
            try:
                temporary.replace(folder)
            except OSError:
                if old.exists():
                    old.replace(folder)
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

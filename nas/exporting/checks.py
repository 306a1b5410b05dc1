"""What `nas verify` looks at in an exported folder, one function a check. Needs no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile_device import (
    CPU_PROVIDER,
    DeviceError,
    RefusedError,
    check_provider,
    onnx_session,
)
from nas.exporting.graph import check_graph, metadata_of
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    INPUT_PREFIX,
    MODEL_NAME,
    OUTPUT_PREFIX,
    REFERENCE_NAME,
    SAMPLE_NAME,
    ArchitectureFile,
    Manifest,
)
from nas.exporting.parity import Array, Arrays, compare, run_session
from nas.exporting.pixels import PIXELS_NAME
from nas.exporting.plan_model import carried_precision, read_model
from nas.exporting.predict import prepare, read

PREPARED_TOLERANCE = 1e-4  # of inputs that are made as the manifest says, relative beyond 1
ORT_MARK, ORT_MARK_AT = b"ORTM", slice(4, 8)  # by which ONNX Runtime tells its own format


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


def named(check: str, file: str = MODEL_NAME) -> str:
    """Return a check's name, that of the plain file without its name."""
    return check if file == MODEL_NAME else f"{check} of {file}"


def check_hash(folder: Path, name: str, digest: str) -> Check:
    """Compare a file with its stated SHA-256; one outside the folder is not opened."""
    path = folder / name
    if Path(name).name != name or "\\" in name:
        return Check(f"hash of {name}", False, "the name points outside the folder")
    if not path.is_file():  # nor a link that leads to itself
        return Check(f"hash of {name}", False, "the file is missing")
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return Check(f"hash of {name}", False, "the link points outside the folder")
    found = file_hash(path)
    detail = "matches" if found == digest else f"expected {digest[:12]}..., got {found[:12]}..."
    return Check(f"hash of {name}", found == digest, detail)


def check_file_graph(folder: Path, manifest: Manifest, name: str) -> Check:
    """Check the graph of an ONNX file; of another format it is left to parity.

    What ONNX Runtime would take for another format than the manifest says is not opened.
    """
    entry, content = manifest.models[name], (folder / name).read_bytes()
    found_format = "ort" if content[ORT_MARK_AT] == ORT_MARK else "onnx"
    if found_format != entry.format:
        words = f"it is of format {found_format}, the manifest says {entry.format}"
        return Check(named("graph", name), False, words)
    if entry.format != "onnx":
        words = f"{entry.format} has no checker: ONNX Runtime opens it or does not"
        return Check(named("graph", name), True, words)
    found = check_graph(content, entry.exporter)
    if found != entry.operators:
        return Check(named("graph", name), False, "its operators are not those of the manifest")
    carried = carried_precision(read_model(content))
    if carried != entry.precision:
        words = f"it computes in {carried}, the manifest says {entry.precision}"
        return Check(named("graph", name), False, words)
    words = f"onnx.checker finds no fault; {len(found)} operators, all listed"
    return Check(named("graph", name), True, words)


def check_identity(folder: Path, manifest: Manifest) -> Check:
    """Compare what the files say of themselves with what the manifest says of them."""
    own = ArchitectureFile.load(folder / ARCHITECTURE_NAME)
    told = {ARCHITECTURE_NAME: {"space": own.space, "architecture_id": own.id}}
    for name, entry in manifest.models.items():
        content = (folder / name).read_bytes()
        if entry.format == "ort":
            told[name] = onnx_session(content).get_modelmeta().custom_metadata_map
            continue
        model = onnx.load_from_string(content)
        told[name] = metadata_of(model)
        (opset,) = (one.version for one in model.opset_import if one.domain == "")
        if opset != entry.opset:
            detail = f"{name} has opset {opset}, the manifest says {entry.opset}"
            return Check("identity", False, detail)
    wanted = {
        "space": manifest.space,
        "architecture_id": manifest.architecture_id,
        "class_names": json.dumps(list(manifest.class_names)),
    }
    for name, words in told.items():
        for key, value in wanted.items():
            if key in words and words[key] != value:
                detail = f"{name} says {key} {words[key][:60]}, the manifest {value[:60]}"
                return Check("identity", False, f"{detail}: it is of something else")
    return Check("identity", True, f"{manifest.architecture_id} of {manifest.space} throughout")


def check_parity(folder: Path, manifest: Manifest, name: str) -> Check:
    """Compare a model's answers to the stored inputs with the stored ones. One of another precision
    than fp32 answers under the provider that it was proven with; elsewhere nothing is compared.
    """
    entry, (inputs, outputs) = manifest.models[name], references(folder, manifest)
    provider = CPU_PROVIDER if entry.precision == "fp32" else entry.provider
    try:
        check_provider(provider)
        session = onnx_session((folder / name).read_bytes(), provider=provider)
    except RefusedError:
        raise
    except DeviceError as error:
        return Check(named("parity", name), True, f"not compared: {error}")
    if entry.preprocessing == "graph":
        inputs = {PIXELS_NAME: read(str(folder / SAMPLE_NAME), 0)[0]}
    n = min(len(one) for one in inputs.values())
    parities = [
        compare(
            run_session(session, inputs, size), outputs, manifest.classification, entry.precision
        )
        for size in ((entry.batch,) if entry.batch else (1, n))
    ]
    worst = max(parities, key=lambda parity: parity.max_abs_difference)
    detail = f"max difference {worst.max_abs_difference:.2g} over {worst.n} reference inputs"
    return Check(named("parity", name), all(parity.ok for parity in parities), detail)


def check_preprocessing(folder: Path, manifest: Manifest) -> Check:
    """Make inputs of the stored samples as the manifest says, and compare with the stored ones."""
    wanted, _ = references(folder, manifest)
    described = manifest.model_dump(mode="json")
    arrays = read(str(folder / SAMPLE_NAME), 0)
    made = prepare(arrays, described["preprocessing"], described["inputs"])
    worst = 0.0
    for name, reference in wanted.items():
        if name not in made or made[name].shape != reference.shape:
            return Check("preprocessing", False, f"what the manifest says gives no {name}")
        scale = max(1.0, float(np.abs(reference).max()))
        difference = float(np.abs(made[name] - reference).max()) / scale
        if not np.isfinite(difference):
            return Check("preprocessing", False, f"what the manifest says gives no finite {name}")
        worst = max(worst, difference)
    ok = worst <= PREPARED_TOLERANCE
    detail = f"inputs made as the manifest says differ by {worst:.2g} from the stored ones"
    return Check("preprocessing", ok, detail)


def references(folder: Path, manifest: Manifest) -> tuple[Arrays, dict[str, Array]]:
    """Return the stored inputs, and the answers of the trained network, by name."""
    with (
        (folder / REFERENCE_NAME).open("rb") as file,
        np.load(file, allow_pickle=False) as reference,
    ):
        inputs = {name: reference[INPUT_PREFIX + name] for name in manifest.inputs}
        outputs = {name: reference[OUTPUT_PREFIX + name] for name in manifest.outputs}
    return inputs, outputs

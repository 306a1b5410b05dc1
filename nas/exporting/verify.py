"""Check an exported folder: hashes, graph, parity, latency against its budget. Needs no torch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile_device import (
    DeviceError,
    RefusedError,
    describe_target,
    measure_models,
    undisturbed,
)
from hardware_profiles.target import Target
from nas.exporting.manifest import (
    INPUT_PREFIX,
    MANIFEST_NAME,
    MODEL_NAME,
    OUTPUT_PREFIX,
    REFERENCE_NAME,
    Manifest,
)
from nas.exporting.parity import compare, run_onnx
from search_spaces import InputError


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """All checks of a folder."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return `{"ok", "checks": [{"name", "ok", "detail"}]}`."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def verify_folder(folder: Path) -> Verification:
    """Re-check an exported folder on this machine.

    The graph is looked at only where all hashes match; parity and latency only where it is sound.

    Raises:
        InputError: no readable manifest there.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is no exported folder (no {MANIFEST_NAME} in it)")
    manifest = Manifest.load(folder / MANIFEST_NAME)
    checks = [_check_hash(folder, name, digest) for name, digest in manifest.files.items()]
    missing = {MODEL_NAME, REFERENCE_NAME} - set(manifest.files)
    if missing:
        checks.append(Check("manifest", False, f"lists no {', '.join(sorted(missing))}"))
    if all(check.ok for check in checks):
        checks.append(_guarded("graph", lambda: _check_graph(folder)))
    if all(check.ok for check in checks):
        checks.append(_guarded("parity", lambda: _check_parity(folder, manifest)))
        checks.append(_guarded("latency", lambda: _check_latency(folder, manifest)))
    return Verification(tuple(checks))


def _check_hash(folder: Path, name: str, digest: str) -> Check:
    path = folder / name
    if Path(name).name != name:
        return Check(f"hash of {name}", False, "the name points outside the folder")
    if not path.is_file():
        return Check(f"hash of {name}", False, "the file is missing")
    found = file_hash(path)
    detail = "matches" if found == digest else f"expected {digest[:12]}..., got {found[:12]}..."
    return Check(f"hash of {name}", found == digest, detail)


def _check_graph(folder: Path) -> Check:
    data = (folder / MODEL_NAME).read_bytes()
    model = onnx.load_from_string(data)
    tensors = onnx.external_data_helper._get_all_tensors(model)  # of constants and subgraphs too
    if any(map(onnx.external_data_helper.uses_external_data, tensors)):
        return Check("graph", False, "its weights lie in another file, which has no hash")
    onnx.checker.check_model(model, full_check=True)
    return Check("graph", True, "onnx.checker finds no fault")


def _check_parity(folder: Path, manifest: Manifest) -> Check:
    with (
        (folder / REFERENCE_NAME).open("rb") as file,
        np.load(file, allow_pickle=False) as reference,
    ):
        inputs = {name: reference[INPUT_PREFIX + name] for name in manifest.inputs}
        outputs = {name: reference[OUTPUT_PREFIX + name] for name in manifest.outputs}
    model = (folder / MODEL_NAME).read_bytes()
    n = min(len(one) for one in inputs.values())
    parities = [
        compare(run_onnx(model, inputs, size), outputs, manifest.classification) for size in (1, n)
    ]
    worst = max(parities, key=lambda parity: parity.max_abs_difference)
    detail = f"max difference {worst.max_abs_difference:.2g} over {worst.n} reference inputs"
    return Check("parity", all(parity.ok for parity in parities), detail)


def _check_latency(folder: Path, manifest: Manifest) -> Check:
    if not manifest.measured and manifest.budget_ms is not None:
        words = f"a budget of {manifest.budget_ms:.4f} ms is stated, but no measurement"
        return Check("latency", False, words)
    if not manifest.measured:
        words = (
            f"{manifest.predicted_latency_ms:.4f} ms predicted for a device that was not at hand"
        )
        return Check("latency", True, f"not measured: {words}")
    stated = manifest.measured[0]
    target = stated.target
    settings = (target.threads, target.batch_size, target.provider)
    try:
        if target.runtime != "onnxruntime":
            raise DeviceError(f"{target.runtime} does not run the ONNX file itself")
        here = Target(**describe_target(*settings, target.core_numbers))
        if target.differences(here) not in ([], ["runtime_version"]):
            raise DeviceError(f"this is {here}")
        model = (folder / MODEL_NAME).read_bytes()
        with undisturbed(target.core_numbers):
            result = measure_models([model], *settings)[0]
    except RefusedError:
        raise  # a file that cannot be opened or run fails
    except DeviceError as error:  # another machine, or one without the provider or the cores
        return Check("latency", True, f"not compared: measured on {target}; {error}")
    words = f"{result.latency_ms:.4f} ms here, {stated.latency_ms:.4f} ms stated"
    if manifest.budget_ms is None:
        return Check("latency", True, f"{words}, no budget")
    kept = result.latency_ms <= manifest.budget_ms
    return Check("latency", kept, f"{words}, budget {manifest.budget_ms:.4f} ms")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run a check; a file it cannot use fails it, whatever the library that reads it raises."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
        return Check(name, False, f"not usable: {str(error).splitlines()[0][:200]}")

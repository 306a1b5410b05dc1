"""Check an exported folder: hashes, graph, parity, latency against its budget. Needs no torch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hardware_profiles.profile_device import (
    DeviceError,
    RefusedError,
    describe_target,
    measure_models,
    undisturbed,
)
from hardware_profiles.target import Target
from nas.exporting.checks import (
    Check,
    check_file_graph,
    check_hash,
    check_identity,
    check_parity,
    check_preprocessing,
    named,
)
from nas.exporting.engine_checks import check_engine, check_engine_source
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    REFERENCE_NAME,
    SAMPLE_NAME,
    Manifest,
    MeasuredLatency,
)
from search_spaces import InputError

NEEDED = {MODEL_NAME, REFERENCE_NAME, SAMPLE_NAME, ARCHITECTURE_NAME}


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


def verify_folder(folder: Path, trust_engines: bool = False) -> Verification:
    """Re-check an exported folder on this machine.

    The graphs are looked at only where all hashes match; parity and latency only where they are
    sound; how inputs are made only where parity holds.

    Args:
        trust_engines: code that version-compatible TensorRT engines carry may run.

    Raises:
        InputError: no readable manifest there.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is no exported folder (no {MANIFEST_NAME} in it)")
    manifest = Manifest.load(folder / MANIFEST_NAME)
    checks = [check_hash(folder, name, digest) for name, digest in manifest.files.items()]
    sources = {one.source for one in manifest.engines.values()}
    answering = set(manifest.models) | set(manifest.engines)
    missing = (NEEDED | answering | sources) - set(manifest.files)
    if MODEL_NAME not in manifest.models:
        missing.add(MODEL_NAME)
    elif manifest.models[MODEL_NAME].precision != "fp32":
        checks.append(Check("manifest", False, f"{MODEL_NAME} is the file in fp32, not in another"))
    if missing:
        checks.append(Check("manifest", False, f"lists no {', '.join(sorted(missing))}"))
    names = list(manifest.models)
    if all(check.ok for check in checks):
        checks += [_guarded("graph", check_file_graph, folder, manifest, name) for name in names]
        checks += [
            _guarded("source", check_engine_source, folder, manifest, name)
            for name in manifest.engines
        ]
    if all(check.ok for check in checks):
        checks.append(_guarded("identity", check_identity, folder, manifest))
        checks += [_guarded("parity", check_parity, folder, manifest, name) for name in names]
        look = partial(check_engine, trusted=trust_engines)
        checks += [_guarded("parity", look, folder, manifest, name) for name in manifest.engines]
        if all(check.ok for check in checks):
            checks.append(_guarded("preprocessing", check_preprocessing, folder, manifest))
        checks.append(_guarded("latency", _check_latency, folder, manifest))
    return Verification(tuple(checks))


def _check_latency(folder: Path, manifest: Manifest) -> Check:
    """Measure the plain file on the target that its budget is of, where that is this machine."""
    if not manifest.measured and manifest.budget_ms is not None:
        words = f"a budget of {manifest.budget_ms:.4f} ms is stated, but no measurement"
        return Check("latency", False, words)
    stated = next((one for one in manifest.measured if one.file == MODEL_NAME), None)
    if stated is None:
        words = (
            f"{manifest.predicted_latency_ms:.4f} ms predicted for a device that was not at hand"
        )
        return Check("latency", True, f"not measured: {words}")
    missed = _missed(manifest)
    if missed is not None:
        return Check("latency", False, missed)
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
        budget = "" if manifest.budget_ms is None else f", budget {manifest.budget_ms:.4f} ms"
        words = f"not compared: {stated.latency_ms:.4f} ms{budget} measured on {target}; {error}"
        return Check("latency", True, words)
    words = f"{result.latency_ms:.4f} ms here ({here}), {stated.latency_ms:.4f} ms stated"
    if manifest.budget_ms is None:
        return Check("latency", True, f"{words}, no budget")
    kept = result.latency_ms <= manifest.budget_ms
    return Check("latency", kept, f"{words}, budget {manifest.budget_ms:.4f} ms")


def _missed(manifest: Manifest) -> str | None:
    """Say which measurement misses a budget that is of its target."""
    first, budget = next(iter(manifest.measured), None), manifest.budget_ms
    if first is not None and budget is not None and first.typical_ms > budget:
        return (
            f"{first.latency_ms:.4f} ms measured on {first.target} (typical pass "
            f"{first.typical_ms:.4f} ms), the stated budget is {budget:.4f} ms"
        )
    for wanted in manifest.wanted:
        for one in manifest.measured:
            if one.file == MODEL_NAME and misses(one, wanted.target, wanted.budget_ms):
                return (
                    f"{one.latency_ms:.4f} ms measured on {one.target} (typical pass "
                    f"{one.typical_ms:.4f} ms), wanted there {wanted.budget_ms:.4f} ms"
                )
    return None


def misses(measured: MeasuredLatency, target: Target, budget_ms: float) -> bool:
    """Tell whether a measurement is of the target, whatever its runtime's version, and beyond the
    budget.
    """
    same = measured.target.differences(target) in ([], ["runtime_version"])
    return same and measured.typical_ms > budget_ms


def _guarded(
    word: str, check: Callable[..., Check], folder: Path, manifest: Manifest, *name: str
) -> Check:
    """Run a check; a file it cannot use fails it, whatever the library that reads it raises."""
    try:
        return check(folder, manifest, *name)
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
        detail = f"not usable: {(str(error).splitlines() or ['?'])[0][:200]}"
        return Check(named(word, *name), False, detail)

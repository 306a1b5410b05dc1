"""What `nas verify` looks at in TensorRT engines: the ONNX file, and answers where they fit."""

from functools import partial
from pathlib import Path

from nas.exporting.checks import Check, named, references
from nas.exporting.graph import check_graph
from nas.exporting.manifest import Manifest
from nas.exporting.parity import compare
from nas.exporting.plan_info import check_plan_fits
from search_spaces import InputError, MissingExtraError

CARRIES_CODE = (
    "it is version-compatible and carries code that runs when it is loaded: --trust-engines loads "
    "it, where you trust whoever made it"
)


def check_engine_source(folder: Path, manifest: Manifest, name: str) -> Check:
    """Check the ONNX file that an engine was built from."""
    entry, what = manifest.engines[name], named("source", name)
    if manifest.files[entry.source] != entry.info.onnx_sha256:
        return Check(what, False, f"it was built from another file than {entry.source}")
    operators = check_graph((folder / entry.source).read_bytes())
    return Check(what, True, f"{entry.source} is sound; {len(operators)} operators, all listed")


def check_engine(folder: Path, manifest: Manifest, name: str, trusted: bool = False) -> Check:
    """Compare an engine's answers to the stored inputs with the stored ones, where its GPU and its
    TensorRT are here.

    Args:
        trusted: code in it may run.
    """
    entry, what = manifest.engines[name], named("parity", name)
    try:
        from nas.exporting import plan

        check_plan_fits(entry.info, plan.gpu_setup())
    except (MissingExtraError, ModuleNotFoundError, InputError) as error:
        return Check(what, True, f"not compared: built on {entry.info.built_on}; {error}")
    if entry.info.version_compatible and not trusted:
        return Check(what, True, f"not compared: {CARRIES_CODE}")
    inputs, outputs = references(folder, manifest)
    found = plan.check_plan(
        (folder / name).read_bytes(),
        entry.info,
        inputs,
        outputs,
        compare=partial(
            compare, classification=manifest.classification, precision=entry.info.precision
        ),
        trusted=trusted,
    )
    worst = max(found.values(), key=lambda parity: parity.max_abs_difference)
    detail = f"max difference {worst.max_abs_difference:.2g} over {worst.n} reference inputs"
    return Check(what, all(parity.ok for parity in found.values()), detail)

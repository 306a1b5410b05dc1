"""The README of an exported folder. What is measured later stands in the manifest alone."""

from importlib.resources import files as package_files

from nas.exporting.comparison import Comparison, PrecisionRow
from nas.exporting.manifest import (
    ARCHITECTURE_NAME,
    MODEL_NAME,
    PREDICT_NAME,
    PROFILE_NAME,
    REFERENCE_NAME,
    SAMPLE_NAME,
    Conversion,
    EngineFile,
    Manifest,
)
from nas.results import metric_text

CONTENTS = {
    ARCHITECTURE_NAME: "which architecture of which space it is",
    REFERENCE_NAME: "inputs as the model takes them, with the answers of the trained network",
    SAMPLE_NAME: "the same inputs as the data held them",
    PREDICT_NAME: "answers files of one's own",
    PROFILE_NAME: "measures latency on a device",
}


def readme(manifest: Manifest) -> bytes:
    """Return the README: the three commands, the files, precisions side by side, engines."""
    metric = manifest.metric
    told = {
        "validation": metric_text(metric, manifest.validation_accuracy),
        "test": metric_text(metric, manifest.test_accuracy),
    }
    words = ", ".join(f"{name} {metric} {value}" for name, value in told.items())
    costs = manifest.costs
    summary = f"{words}; {costs['macs']:,} MACs, {costs['num_params']:,} parameters."
    target = manifest.measured[0].target if manifest.measured else None
    settings = ""
    if target is not None and target.threads > 1:
        settings += f" --threads {target.threads}"
    if target is not None and target.batch_size > 1:
        settings += f" --batch-size {target.batch_size}"
    licence = "; ".join(f"{name}: {note}" for name, note in manifest.licences.items())
    sections = [_precisions(manifest.precisions, metric)] if manifest.precisions else []
    sections += [_engine(name, one) for name, one in manifest.engines.items()]
    template = package_files("nas.exporting").joinpath("deployed.md").read_text(encoding="utf-8")
    return template.format(
        architecture_id=manifest.architecture_id,
        space=manifest.space,
        summary=summary,
        model=MODEL_NAME,
        settings=settings,
        files="".join(_files(manifest)),
        further="".join(f"{one}\n" for one in sections),
        licence=f"Licences of what it was made from: {licence or 'not known; ask whose it was'}.",
    ).encode()


def _files(manifest: Manifest) -> list[str]:
    rows = []
    for name, one in manifest.models.items():
        batch = "any batch" if one.batch is None else f"batch {one.batch}"
        takes = "pixels (uint8)" if one.preprocessing == "graph" else "prepared inputs"
        what = f"{one.format}, {one.precision}, opset {one.opset}, {batch}, takes {takes}"
        if one.conversion is not None:
            what += f"; {describe_conversion(one.conversion, manifest.metric)}"
        rows.append(f"| `{name}` | {what.replace('|', '/')} |\n")
    for name, engine in manifest.engines.items():
        info = engine.info
        what = f"TensorRT engine, {info.precision}, batch {info.batch}, of {info.built_on}"
        rows.append(f"| `{name}` | {what} |\n")
        if engine.source not in manifest.models:
            rows.append(f"| `{engine.source}` | what `{name}` is built from |\n")
    return rows + [f"| `{name}` | {what} |\n" for name, what in CONTENTS.items()]


def describe_conversion(conversion: Conversion, metric: str) -> str:
    """Say in one line how a file came to its precision and what that cost."""
    parts = []
    if conversion.method is not None:
        parts.append(f"ranges by {conversion.method}, types of {conversion.scheme}")
    kept = len(conversion.kept_float)
    parts.append(f"{kept or 'no'} node{'s' * (kept != 1)} kept in fp32")
    if conversion.accuracy_before is not None and conversion.accuracy_after is not None:
        before, after = conversion.accuracy_before, conversion.accuracy_after
        parts.append(f"{metric} {metric_text(metric, before)} -> {metric_text(metric, after)}")
    return ", ".join(parts) + "".join(f"; {note}" for note in conversion.notes)


def _precisions(comparison: Comparison, metric: str) -> str:
    lines = [
        "Precisions side by side, on validation samples and where the folder was made:\n\n",
        f"| precision | {metric} | ms | of fp32's | bytes | file | |\n",
        f"{'|---' * 7}|\n",
    ]
    lines += [f"| {' | '.join(cells_of(row, metric))} |\n" for row in comparison.rows]
    return "".join([*lines, f"\nTake {comparison.recommended}: {comparison.reason}.\n"])


def cells_of(row: PrecisionRow, metric: str) -> list[str]:
    """Return a row as words: precision, accuracy, latency, its ratio, size, file, note."""
    if row.accuracy is None or row.latency_ms is None or row.latency_ratio is None:
        return [row.precision, "", "", "", "", "not left", row.note]
    return [
        row.precision,
        metric_text(metric, row.accuracy),
        f"{row.latency_ms:.4g}",
        f"{row.latency_ratio:.2f}",
        f"{row.size_bytes:,}",
        row.file or "not left",
        row.note,
    ]


def _engine(name: str, engine: EngineFile) -> str:
    return (
        f"`{name}` again, and its latency, with NVIDIA's `trtexec`:\n\n"
        f"    {engine.build_command}\n    {engine.time_command}\n"
    )

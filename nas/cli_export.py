"""The commands of exported folders: making them, checking them, and what was measured of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli_exported import show_export
from nas.cli_results import FAILED, fail_without_subnet, read_budget, show_result
from nas.terminal import Json, print_json, print_table, printable
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.exporting.family import FamilyMember

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="An exported folder.")]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    architecture: Annotated[
        str | None,
        typer.Argument(metavar="ARCH", help='Id, "smallest", "largest", JSON file or text.'),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Search and export one subnet for each: 1,2,4 or 20%,50%.")
    ] = None,
    front: Annotated[bool, typer.Option(help="Export the whole front of the last search.")] = False,
    inherited: Annotated[
        bool, typer.Option("--inherited", help="The supernet's weights, also of fine-tuned ones.")
    ] = False,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="Also a file in: onnx, ort (for phones), tensorrt."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Of that file: fp32, fp16, bf16, int8; fp16,int8 or all to compare."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Of that file: fixed, instead of any.")] = None,
    opset: Annotated[int | None, typer.Option(help="Of that file: 17 without.")] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="Of that file: graph takes pixels; outside is as the manifest says."),
    ] = None,
    batch_range: Annotated[
        str | None,
        typer.Option(help="Of a TensorRT engine: 8, or least, typical and most as 1,8,32."),
    ] = None,
    workspace_mb: Annotated[
        int | None, typer.Option(help="Of a TensorRT engine: MiB a layer may take; 4096 without.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="An engine for later TensorRTs too.")
    ] = False,
    hardware_compatible: Annotated[
        str | None,
        typer.Option(help="An engine for other GPUs: same-compute-capability, ampere-plus."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export subnets as folders whose models were proven equal and measured.

    Every folder has model.onnx; options add a file beside it, which passes the same gate.

    Example: nas export runs/digits largest

    Example: nas export runs/digits largest --format ort --preprocessing graph

    Example: nas export runs/digits largest --precision int8

    Example: nas export runs/digits largest --precision all

    Example: nas export runs/digits largest --format tensorrt --precision fp16 --batch-range 1,8,32

    Example: nas export runs/digits --budgets 1,2,4,8
    """
    if sum((architecture is not None, budgets is not None, front)) != 1:
        raise InputError("expected one of ARCH, --budgets and --front")
    given = {
        "format": file_format,
        "precision": precision,
        "batch": batch,
        "opset": opset,
        "preprocessing": preprocessing,
        "batch_range": batch_range,
        "workspace_mb": workspace_mb,
        "version_compatible": version_compatible or None,
        "hardware_compatible": hardware_compatible,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if budgets is not None and (inherited or given):
        wrong = ["inherited"] if inherited else [name.replace("_", "-") for name in given]
        names = ", ".join(f"--{name}" for name in wrong)
        raise InputError(
            f"{names} goes with ARCH and --front: a search exports the plain file, with "
            "fine-tuned weights where there are any"
        )
    from nas.exporting.request import read_request
    from nas.run_file import read_run_file

    read_request(given)
    read_run_file(run)  # before what takes seconds to import
    if budgets is not None:
        _export_budgets(run, budgets.split(","), as_json)
        return
    from nas import pipeline
    from nas.run_directory import open_run

    opened = open_run(run)  # once, for all of them
    if front:
        _export_front(opened, inherited, given, as_json)
        return
    result = pipeline.export(opened, str(architecture), inherited=inherited, **given)
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    show_export(result)


def _export_front(run: Any, inherited: bool, options: dict[str, Any], as_json: bool) -> None:
    from nas import pipeline

    results, family = pipeline.export_front(run, inherited=inherited, **options)
    if as_json:
        rows = [result.model_dump(mode="json") for result in results]
        print_json({"exports": rows, "family": _family_json(family)})
        return
    for result in results:
        show_export(result)
    _show_family(family)


def _export_budgets(run: Path, budgets: list[str], as_json: bool) -> None:
    from nas import pipeline

    results, family = pipeline.export_budgets(run, [read_budget(text) for text in budgets])
    if as_json:
        searches = [result.to_json() for result in results]
        print_json({"searches": searches, "family": _family_json(family)})
    else:
        for result in results:
            show_result(result)
        _show_family(family)
    fail_without_subnet(results)


def _family_json(family: "Sequence[FamilyMember]") -> list[dict[str, Any]]:
    return [member.model_dump(mode="json") for member in family]


def _show_family(family: "Sequence[FamilyMember]") -> None:
    from rich.table import Table

    from nas.results import metric_text

    def quality(value: float | None) -> str:
        return "" if value is None else metric_text(family[0].metric, value)

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    table = Table(title="family", title_justify="left")
    for name in ("budget ms", "subnet", "validation", "test", "measured ms", "MACs", "gain per ms"):
        table.add_column(name, justify="left" if name == "subnet" else "right")
    for one in family:
        missed = " (missed)" if one.kept is False else ""
        table.add_row(
            number(one.budget_ms),
            one.architecture_id + missed,
            quality(one.validation_accuracy),
            quality(one.test_accuracy),
            number(one.measured_latency_ms),
            "" if one.macs is None else f"{one.macs:,}",
            quality(one.marginal_accuracy_per_ms),
        )
    print_table(table)


def verify(
    folder: Folder,
    trust_engines: Annotated[
        bool,
        typer.Option(
            "--trust-engines", help="Run the code that version-compatible TensorRT engines carry."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Re-check an exported folder: hashes, graph, parity, measured latency against its budget.

    Example: nas verify runs/digits/subnets/5d310b87c6
    """
    from nas.exporting.verify import verify_folder

    verification = verify_folder(folder, trust_engines)
    if as_json:
        print_json(verification.to_json())
    else:
        for check in verification.checks:
            word = "ok    " if check.ok else "FAILED"
            typer.echo(f"{word}  {printable(check.name)}: {printable(check.detail)}")
    if not verification.ok:
        raise typer.Exit(FAILED)


def measured(
    folder: Folder,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="Of profile_device.py --models ... --out.")
    ],
    as_json: Json = False,
) -> None:
    """Add what was measured of a folder's models on a device, and tell whether it keeps its budget.

    Example: nas measured runs/digits/subnets/5d310b87c6 result.json
    """
    from nas.exporting.measured import join_result

    joined = join_result(folder, result)
    if as_json:
        print_json(joined.to_json())
    else:
        for one in joined.measured:
            typer.echo(printable(str(one)))
    if not joined.kept:
        raise typer.Exit(FAILED)

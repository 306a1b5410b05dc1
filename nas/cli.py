"""The command line: arguments in, a table or one JSON object out.

Heavy imports wait for the command that needs them, so that `nas --help` answers at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from nas.cli_bench import bench_app
from nas.cli_network import elasticize, one_shot
from nas.cli_profile import compare, devices, profile_app
from nas.cli_proxies import proxies
from nas.cli_train import (
    Model,
    Out,
    Overrides,
    audit,
    create_or_open,
    finetune,
    import_weights,
    train,
)
from nas.terminal import Json, print_json, print_rows, print_table
from search_spaces.errors import InputError, MissingExtraError, ParityError, UnfinishedError

if TYPE_CHECKING:
    from nas.results import RunResult, SearchResult

app = typer.Typer(
    name="nas",
    help="Give it a latency budget and a device; get back a model file that was measured to keep "
    "the budget.\n\nExample: nas run --out runs/first",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(profile_app, name="profile")
app.add_typer(bench_app, name="bench")
app.command()(devices)
app.command()(compare)
app.command()(proxies)
app.command()(train)
app.command()(finetune)
app.command()(audit)
app.command("import-weights")(import_weights)
app.command()(elasticize)
app.command("one-shot")(one_shot)

FAILED, BAD_INPUT, MISSING_EXTRA, UNFINISHED, INTERRUPTED = 1, 2, 3, 4, 130

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def main() -> None:
    """Run the command line; what a user can cause ends in one or two lines and an exit code."""
    try:
        code = _run_command()
    except InputError as error:
        _fail(str(error), BAD_INPUT)
    except ParityError as error:
        _fail(str(error), FAILED)
    except typer.TyperException as error:  # an unknown command or option, a bad value
        words = error.format_message() if hasattr(error, "format_message") else str(error)
        _fail(f"{words.rstrip('.')}; see nas --help", BAD_INPUT)
    except MissingExtraError as error:
        _fail(str(error), MISSING_EXTRA)
    except UnfinishedError as error:
        _fail(str(error), UNFINISHED)
    except OSError as error:
        _fail(f"{error.filename or 'cannot go on'}: {error.strerror or error}", BAD_INPUT)
    if code == INTERRUPTED:
        _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    sys.exit(code)


def _run_command() -> int:
    """Run the command that was given, under torchrun as one of its processes; return its code.

    What several processes would say, one says.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return int(app(standalone_mode=False) or 0)
    from nas.training.ranks import SaidElsewhere, torchrun_ranks

    try:
        with torchrun_ranks() as ranks:
            code = int(app(standalone_mode=False, obj=ranks) or 0)
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except SaidElsewhere as said:
        if isinstance(said.__cause__, UnfinishedError):
            sys.exit(UNFINISHED)
        sys.exit(INTERRUPTED if said.interrupted else BAD_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"nas: {message}\n")
    sys.exit(code)


@app.callback()
def _check_processes(context: typer.Context) -> None:
    if context.obj is not None and context.invoked_subcommand != "train":
        raise InputError(
            f"torchrun is for `nas train` alone; run `nas {context.invoked_subcommand}` without it"
        )


@app.command("run")
def run_command(
    recipe: Annotated[
        Path | None, typer.Argument(help="A TOML recipe, or a run to go on with.")
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Do the whole job: train, profile, search, export, measure. Without RECIPE: embedded digits.

    The same --out with the same recipe goes on where it stopped.

    Example: nas run recipes/digits.toml --out runs/a --set search.budget=0.04

    Example: nas run recipes/own-network-short.toml --model python:mine:network
    """
    current = create_or_open(recipe, out, overrides, model)
    from nas import pipeline

    result = pipeline.run_stages(current)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        _show_result(result, result.report_path)
        _show_seconds(result.seconds)
    _fail_without_subnet([result])


@app.command()
def search(
    run: RunPath,
    latency_ms: Annotated[
        str | None, typer.Option(help='Budget in ms, or a share of the reachable range ("50%").')
    ] = None,
    max_macs: Annotated[float | None, typer.Option(help="Multiply-accumulates.")] = None,
    max_params: Annotated[float | None, typer.Option(help="Parameters.")] = None,
    max_activation_bytes: Annotated[
        float | None, typer.Option(help="Peak activation memory, batch 1, fp32.")
    ] = None,
    max_resident_bytes: Annotated[
        float | None, typer.Option(help="Resident memory on the device, as measured there.")
    ] = None,
    max_energy_mj: Annotated[
        float | None, typer.Option(help="Energy of a run, where the profile tells it.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="A known profile (nas devices) or its file.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE=BUDGET",
            help="Another known device (or its profile's file) and its budget, predicted for.",
        ),
    ] = None,
    worst_case: Annotated[
        bool | None, typer.Option("--worst-case", help="All devices as one objective.")
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(help="Beside the loss: latency_ms,macs,energy_mj,python:module:function."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FUNCTION=MOST", help="A limit on python:module:function(space, population)."
        ),
    ] = None,
    searcher: Annotated[str | None, typer.Option(help="Search method: auto, nsga2, ...")] = None,
    measure: Annotated[
        int | None, typer.Option(help="Validate so many subnets, instead of predicting them.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that validate side by side.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of section search."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search a trained run under another budget; what was measured before is used again.

    Where --device is not this machine, the result is predicted only, and says so.

    Example: nas search runs/digits --latency-ms 0.04 --max-macs 400e3

    Example: nas search runs/digits --searcher bayesian --measure 60 --workers 2
    """
    from nas.config import read_search_settings
    from nas.run_file import read_run_file

    read_run_file(run)  # before what takes seconds to import
    given = {
        "budget": None if latency_ms is None else _budget(latency_ms),
        "max_macs": max_macs,
        "max_params": max_params,
        "max_activation_bytes": max_activation_bytes,
        "max_resident_bytes": max_resident_bytes,
        "max_energy_mj": max_energy_mj,
        "device": device,
        "searcher": searcher,
        "also": dict(map(_device_budget, also)) if also else None,
        "worst_case": worst_case,
        "objectives": None if objectives is None else objectives.split(","),
        "limits": dict(map(_function_limit, limit)) if limit else None,
        "measured_evaluations": measure,
        "workers": workers,
    }
    settings = read_search_settings(overrides or ())
    settings |= {key: value for key, value in given.items() if value is not None}
    from nas import pipeline

    result = pipeline.search(run, settings.pop("budget", None), **settings)
    if as_json:
        print_json(result.to_json())
    else:
        _show_result(result)
    _fail_without_subnet([result])


def _function_limit(text: str) -> tuple[str, float]:
    name, _, most = text.rpartition("=")
    try:
        return name, float(most)
    except ValueError:
        raise InputError(f"expected --limit python:module:function=NUMBER, got {text!r}") from None


def _device_budget(text: str) -> tuple[str, float | str]:
    name, equals, budget = text.rpartition("=")
    if not equals or not name:
        raise InputError(f"expected --also DEVICE=BUDGET (pixel3=20, or pixel3=50%), got {text!r}")
    return name, _budget(budget)


@app.command()
def export(
    run: RunPath,
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
    as_json: Json = False,
) -> None:
    """Export subnets as ONNX folders that were proven equal and measured.

    Example: nas export runs/digits largest
    """
    if sum((architecture is not None, budgets is not None, front)) != 1:
        raise InputError("expected one of ARCH, --budgets and --front")
    if budgets is not None and inherited:
        raise InputError(
            "--inherited goes with ARCH and --front: a search takes fine-tuned weights"
        )
    from nas.run_file import read_run_file

    read_run_file(run)  # before what takes seconds to import
    if budgets is not None:
        _export_budgets(run, budgets.split(","), as_json)
        return
    from nas import pipeline
    from nas.run_directory import open_run

    opened = open_run(run)  # once, for all of them
    names = pipeline.front_ids(opened) if front else [str(architecture)]
    results = [pipeline.export(opened, name, inherited=inherited) for name in names]
    if as_json:
        rows = [result.model_dump(mode="json") for result in results]
        print_json({"exports": rows} if front else rows[0])
        return
    for result in results:
        words = f"{result.measured_latency_ms:.4f} ms measured, {result.weights} weights"
        typer.echo(f"{result.directory}  {words}")


def _export_budgets(run: Path, budgets: list[str], as_json: bool) -> None:
    from nas.config import check_budget

    wanted = [_budget(text) for text in budgets]
    for budget in wanted:
        check_budget(budget)
    from nas import pipeline
    from nas.run_directory import open_run

    opened = open_run(run)  # once, for all of them
    results = [pipeline.search(opened, budget) for budget in wanted]
    if as_json:
        print_json({"searches": [result.to_json() for result in results]})
    for result in [] if as_json else results:
        _show_result(result)
    _fail_without_subnet(results)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An exported folder.")],
    as_json: Json = False,
) -> None:
    """Re-check an exported folder: hashes, graph, parity, measured latency against its budget.

    Example: nas verify runs/digits/subnets/5d310b87c6
    """
    from nas.exporting.verify import verify_folder

    verification = verify_folder(folder)
    if as_json:
        print_json(verification.to_json())
    else:
        for check in verification.checks:
            typer.echo(f"{'ok    ' if check.ok else 'FAILED'}  {check.name}: {check.detail}")
    if not verification.ok:
        raise typer.Exit(FAILED)


@app.command()
def report(
    run: RunPath,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Draw its training beside; may be given again."),
    ] = None,
) -> None:
    """Write the HTML report of a run.

    Example: nas report runs/digits

    Example: nas report runs/a --beside runs/b --beside runs/c
    """
    from nas.run_file import read_run_file

    for one in (run, *(beside or ())):
        read_run_file(one)  # before what takes seconds to import
    from nas import pipeline

    typer.echo(pipeline.report(run, beside or ()))


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="One space, in detail.")] = None,
    as_json: Json = False,
) -> None:
    """List the search spaces; or one: its dimensions, size, and what its members cost.

    Example: nas spaces mobilenet-v3
    """
    from nas.catalogue import describe_space, describe_spaces, space_tables

    described = describe_spaces() if name is None else [describe_space(name)]
    if as_json:
        print_json({"spaces": described} if name is None else described[0])
        return
    for table in space_tables(described, dimensions=name is not None):
        print_table(table)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Tell what is installed, what each missing extra would add, what this machine can profile.

    Example: nas doctor
    """
    from nas.doctor import diagnose, doctor_table

    diagnosis = diagnose()
    if as_json:
        print_json(diagnosis)
    else:
        print_table(doctor_table(diagnosis))


def _budget(text: str) -> float | str:
    """Read a budget: milliseconds as a number, a share as it is."""
    if text.strip().endswith("%"):
        return text.strip()
    try:
        return float(text)
    except ValueError:
        return text  # refused, with the way out, where budgets are checked


def _fail_without_subnet(results: "Sequence[SearchResult | RunResult]") -> None:
    """Exit with 1 where a search found nothing that keeps its budget."""
    if any(result.winner is None and result.candidate is None for result in results):
        raise typer.Exit(FAILED)


def _show_result(result: "SearchResult | RunResult", report_path: str | None = None) -> None:
    from nas.results import metric_text

    winner, miss, candidate = result.winner, result.closest_miss, result.candidate
    metric = result.metric
    rows = [("budget", f"{result.budget_ms:.4g} ms")]
    if winner is not None:
        rows += [
            ("chosen subnet", winner.architecture_id),
            (f"test {metric}", metric_text(metric, winner.test_accuracy)),
            (f"validation {metric}", metric_text(metric, winner.validation_accuracy)),
            ("predicted latency", f"{winner.predicted_latency_ms:.4f} ms"),
            ("measured latency", f"{winner.measured_latency_ms:.4f} ms"),
            ("margin", f"{1 - winner.measured_latency_ms / result.budget_ms:.1%} of the budget"),
            ("weights", winner.weights),
            ("model", winner.model_path),
        ]
    elif candidate is not None:
        upper = f"{candidate.predicted_upper_ms:.4f} ms"
        rows += [
            ("candidate", candidate.architecture_id),
            (f"test {metric}", metric_text(metric, candidate.test_accuracy)),
            (f"validation {metric}", metric_text(metric, candidate.validation_accuracy)),
            ("predicted latency", f"{candidate.predicted_latency_ms:.4f} ms, upper bound {upper}"),
            ("measured latency", f"not measured: {result.target} is not this machine"),
            ("weights", candidate.weights),
            ("model", candidate.model_path),
            ("measure it there", "python profile_device.py --models model.onnx (from a kit)"),
        ]
    elif miss is not None:
        rows += [
            ("chosen subnet", "none: no measured subnet keeps the budget"),
            ("closest miss", miss.architecture_id),
            ("measured latency", f"{miss.measured_latency_ms:.4f} ms, noise {miss.noise:.1%}"),
            (f"validation {metric}", metric_text(metric, miss.validation_accuracy)),
        ]
    for name, other in getattr(result, "also", {}).items():
        words = f"budget {other.budget_ms:.4g} ms"
        if other.predicted_ms is not None:
            words += f", predicted {other.predicted_ms:.4f}, upper bound"
            words += f" {other.predicted_upper_ms:.4f} ms"
        rows.append((f"on {name}", words))
    if report_path is not None:
        rows.append(("report", report_path))
    print_rows(rows)


def _show_seconds(seconds: Mapping[str, float]) -> None:
    total = sum(seconds.values())
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    print_rows([("seconds", f"{total:.1f} in all: {stages}")])

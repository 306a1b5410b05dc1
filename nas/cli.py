"""The command line: arguments in, a table or one JSON object out.

Heavy imports wait for the command that needs them, so that `nas --help` answers at once.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from nas.cli_bench import bench_app
from nas.cli_export import export, measured, verify
from nas.cli_network import elasticize, one_shot
from nas.cli_profile import compare, devices, profile_app
from nas.cli_proxies import proxies
from nas.cli_results import FAILED, fail_without_subnet, read_budget, show_result
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
from nas.terminal import Json, print_json, print_rows, print_table, printable
from search_spaces.errors import InputError, MissingExtraError, ParityError, UnfinishedError

if TYPE_CHECKING:
    pass

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
app.command()(export)
app.command()(verify)
app.command()(measured)
app.command("import-weights")(import_weights)
app.command()(elasticize)
app.command("one-shot")(one_shot)

BAD_INPUT, MISSING_EXTRA, UNFINISHED, INTERRUPTED = 2, 3, 4, 130

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
    lines = "\n".join(map(printable, message.split("\n")))
    sys.stderr.write(f"nas: {lines}\n")
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
        show_result(result, result.report_path)
        _show_seconds(result.seconds)
    fail_without_subnet([result])


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
        "budget": None if latency_ms is None else read_budget(latency_ms),
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
        show_result(result)
    fail_without_subnet([result])


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
    return name, read_budget(budget)


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


def _show_seconds(seconds: Mapping[str, float]) -> None:
    total = sum(seconds.values())
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    print_rows([("seconds", f"{total:.1f} in all: {stages}")])

"""The commands for networks of the user's own."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.terminal import Json, print_json, print_rows, print_table
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.run_directory import Run
    from nas.subnet.one_shot import OneShot


def elasticize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="python:package.module:function of yours.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, for --set space.name=file:FOLDER.")
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Sizes that stay; layer*.conv1, say.")
    ] = None,
    widths: Annotated[
        str, typer.Option(help="Shares of whole widths that can be chosen.")
    ] = "0.5,0.75,1",
    options: Annotated[
        list[str] | None,
        typer.Option(metavar="DIMENSION=SHARES", help="For some alone: layer4.*=0.75,1"),
    ] = None,
    keep_depths: Annotated[
        bool, typer.Option("--keep-depths", help="Leave out no residual blocks.")
    ] = False,
    keep_kernels: Annotated[
        bool, typer.Option("--keep-kernels", help="Let no kernel be smaller.")
    ] = False,
    samples: Annotated[
        str | None,
        typer.Option(
            metavar="python:...",
            help="A function returning inputs and class numbers: sorts channels to first order.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="A profile of its space, to predict latencies by.")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, help="A budget: is it within reach? Needs --profile.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a trained network of yours a search space: what can be chosen, what stays, and why.

    The function returns (network, example input). Its weights are kept: the largest member is the
    network itself.

    Example: nas elasticize python:mine:network --out my-net

    Example: nas run recipes/own-network-short.toml --set space.name=file:my-net
    """
    if latency_ms is not None and profile is None:
        raise InputError(
            "--latency-ms needs --profile: make one with `nas profile measure file:FOLDER`"
        )
    from nas import pipeline
    from nas.elastic_networks import network_tables

    described = pipeline.elasticize(
        model,
        out,
        profile=profile,
        latency_ms=latency_ms,
        fixed=tuple(fixed or ()),
        widths=_shares(widths),
        options=dict(map(_option, options or ())),
        depths=not keep_depths,
        kernels=not keep_kernels,
        samples=samples,
    )
    if as_json:
        print_json(described)
        return
    for table in network_tables(described):
        print_table(table)
        typer.echo("")
    rows = [("space", described["space"]), ("architectures", f"{described['num_architectures']:,}")]
    rows += [("note", note) for note in described["notes"]]
    if "within_reach" in described:
        reach = "within reach" if described["within_reach"] else "out of reach of the smallest"
        rows.append(("budget", f"{latency_ms} ms is {reach}, as predicted"))
    if out is not None:
        rows += [
            ("written", str(out)),
            ("search it", f"nas run RECIPE --set space.name=file:{out}"),
        ]
    print_rows(rows)


def one_shot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    subnets: Annotated[int, typer.Option(min=2, help="From the smallest to the largest.")] = 8,
    as_json: Json = False,
) -> None:
    """Tell what subnets are worth before any training: the weights a run starts from, calibrated.

    Example: nas one-shot runs/mine
    """
    from nas import pipeline

    found = pipeline.one_shot(run, subnets=subnets)
    if as_json:
        print_json(asdict(found))
    else:
        show_one_shot(found)


def show_one_shot(found: "OneShot", err: bool = False) -> None:
    """Print a table of one-shot qualities."""
    heading, *rows = found.table()
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    for row in (heading, *rows):
        words = (word.rjust(width) for word, width in zip(row, widths, strict=True))
        typer.echo("  ".join(words), err=err)
    typer.echo(f"{found.num_samples} validation samples, no training", err=err)


def run_of_model(
    model: str, recipe: Path | None, out: Path | None, overrides: Sequence[str]
) -> "Run":
    """Return the run of a network of the user's own: it is made elastic in the run's directory,
    unless it is there.

    Raises:
        InputError: as `nas.elasticize` and `nas.create_run`; a run of another network.
    """
    from nas.config import load_recipe
    from nas.elastic_networks import elastic_network, is_made_from, write_network
    from nas.pipeline import create_run
    from nas.run_directory import NETWORK_NAME, only_leftovers
    from nas.run_file import is_run

    named = load_recipe(recipe, overrides)
    path = out or Path("runs") / named.name
    folder = path / NETWORK_NAME
    if any(text.startswith("space.name") for text in overrides):
        raise InputError("--model and space.name both say what is searched; give one")
    loaded = load_recipe(recipe, [*overrides, f"space.name=file:{folder}"])
    if is_run(path):
        if not is_made_from(folder, model):
            raise InputError(
                f"{path} holds a run of another network than {model} as it is now; choose another "
                "--out or delete it"
            )
    elif path.exists() and not (path.is_dir() and only_leftovers(path)):
        raise InputError(f"{path} exists and is no run; choose another --out")
    else:
        write_network(elastic_network(model), folder, model)
    return create_run(path, loaded)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"expected shares of whole widths, as 0.5,0.75,1; got {text!r}") from None


def _option(text: str) -> tuple[str, tuple[float, ...]]:
    pattern, equals, shares = text.rpartition("=")
    if not equals or not pattern:
        raise InputError(f"expected --options DIMENSION=SHARES, as layer4.*=0.75,1; got {text!r}")
    return pattern, _shares(shares)

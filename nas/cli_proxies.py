"""The command that tries zero-cost proxies on the subnets that a run has measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.terminal import Json, print_json, print_table

if TYPE_CHECKING:
    from nas.subnet.proxy_ranks import ProxyReport


def proxies(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    samples: Annotated[
        int | None, typer.Option(min=3, help="Measured subnets; without it all.")
    ] = None,
    proxies: Annotated[str, typer.Option(help="Which: a,b. Without it all.")] = "",
    trained: Annotated[
        bool, typer.Option("--trained", help="On the supernet's weights, not on first ones.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="CSV of every subnet's scores.")] = None,
    as_json: Json = False,
) -> None:
    """Tell which zero-cost proxies order the subnets of a run as their measured quality does.

    Scores are kept in the run: the same command goes on where it stopped.

    Example: nas proxies runs/digits --proxies snip,synflow,naswot
    """
    from nas.run_file import read_run_file

    read_run_file(run)  # before what takes seconds to import
    from nas import pipeline

    names = [word.strip() for word in proxies.split(",") if word.strip()]
    report = pipeline.proxies(run, names, samples=samples, trained=trained)
    if out is not None:
        report.write_csv(out)
    if as_json:
        print_json(report.model_dump(mode="json", include={"quality", "ranks"}))
    else:
        _show(report)


def _show(report: "ProxyReport") -> None:
    from rich.table import Table

    table = Table(title=f"proxies against {report.quality}", box=None, title_justify="left")
    table.add_column("proxy")
    for name in ("Kendall", "Spearman", "subnets", "unscored", "seconds each"):
        table.add_column(name, justify="right")
    for rank in report.ranks:
        taus = ("n/a" if tau is None else f"{tau:.3f}" for tau in (rank.kendall, rank.spearman))
        table.add_row(rank.proxy, *taus, str(rank.n), str(rank.unscored), f"{rank.seconds:.4f}")
    print_table(table)
    typer.echo("gradient-norm, snip and fisher share one pass, which counts for the first of them")

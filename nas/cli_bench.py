"""The commands that try predictors and searchers on published tables, where the truth is known."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.terminal import Json, print_json, print_table
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.benchmarking.latency import BenchmarkRow

bench_app = typer.Typer(
    help="Try predictors and searchers on published tables, where the truth is known.\n\n"
    "Example: nas bench latency --table nasbench201_cifar10.csv.gz",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Choose(StrEnum):
    """Which architectures are measured."""

    CHOSEN = "chosen"
    RANDOM = "random"
    BOTH = "both"


@bench_app.command("latency")
def latency(
    table: Annotated[Path, typer.Option(help="CSV, or .csv.gz: arch, latency_ms_<target> ...")],
    space: Annotated[str, typer.Option(help="Whose text form `arch` is.")] = "nasbench201",
    targets: Annotated[str, typer.Option(help="Unknown ones: a,b. Without: each in turn.")] = "",
    known: Annotated[str, typer.Option(help="Known ones; without: all of other families.")] = "",
    samples: Annotated[str, typer.Option(help="Numbers of measured subnets.")] = "3,5,10,20,50",
    draws: Annotated[int, typer.Option(min=1, help="Repetitions with other subnets.")] = 20,
    methods: Annotated[str, typer.Option(help="Some only: transfer,auto.")] = "",
    choose: Annotated[Choose, typer.Option(help="How measured subnets are picked.")] = Choose.BOTH,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Also what thousands of measured subnets reach.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    as_json: Json = False,
) -> None:
    """Predict latencies of a table's targets from few measured subnets, each target in turn.

    A device's family is its name up to the first underscore; the unknown target's own family is
    never known. No isomorphism class is both measured and tested.

    Example: nas bench latency --table nasbench201_cifar10.csv.gz --samples 10 --choose chosen
    """
    from nas.benchmarking.latency import LatencyBenchmark, headline, run_benchmark
    from nas.benchmarking.rows import rows_table, write_rows
    from nas.benchmarking.tables import read_table
    from nas.progress import progress_bar
    from search_spaces import build_space

    choices = ("chosen", "random") if choose is Choose.BOTH else (choose.value,)
    given = {"methods": tuple(_words(methods))} if methods else {}
    settings = LatencyBenchmark.model_validate(
        {
            "targets": _words(targets),
            "known": _words(known),
            "samples": [_count(word) for word in _words(samples)],
            "draws": draws,
            "choices": choices,
            "seed": seed,
            "ceiling": ceiling,
            **given,
        }
    )
    read = read_table(table, build_space(space))
    rows: list[BenchmarkRow] = []
    with progress_bar("bench", len(settings.targets or read.targets)) as advance:
        for done, total, new in run_benchmark(read, settings):
            rows += new
            advance(done, new[-1].target if new else "", total)
    mean, of_samples, of_choice = headline(rows)
    if out is not None:
        write_rows(out, rows)
    if as_json:
        print_json(
            {
                "rows": [row.model_dump(mode="json") for row in rows],
                "mean_spearman": mean,
                "mean_spearman_of": {"method": "auto", "samples": of_samples, "choice": of_choice},
            }
        )
        return
    for rendered in rows_table(rows):
        print_table(rendered)
    if mean is not None:
        typer.echo(f"mean Spearman of auto, {of_samples} {of_choice} samples: {mean:.4f}")


@bench_app.command("search")
def search(
    table: Annotated[Path, typer.Option(help="CSV, or .csv.gz: arch, accuracies (%) ...")],
    space: Annotated[str, typer.Option(help="Whose text form `arch` is.")] = "nasbench201",
    searchers: Annotated[str, typer.Option(help="Some only: random,nsga2.")] = "",
    accuracy_column: Annotated[
        str, typer.Option(help="The objective; without: the first with `acc` in its name.")
    ] = "",
    targets: Annotated[str, typer.Option(help="Latencies to minimise beside the error.")] = "",
    scores: Annotated[
        Path | None, typer.Option(help="CSV of zero-cost scores that searchers may know.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches of each searcher.")] = 50,
    evaluations: Annotated[int, typer.Option(min=1, help="Distinct networks at most.")] = 500,
    population: Annotated[int, typer.Option(min=2, help="Of a generation.")] = 20,
    reference_error: Annotated[
        float, typer.Option(min=1e-6, help="Of the hypervolume, in %.")
    ] = 15.0,
    reference_latency: Annotated[
        float, typer.Option(min=1e-6, help="The same, times the largest latency of the true front.")
    ] = 1.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the curves into this PNG file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search a table with every searcher and count its distinct evaluations.

    With one objective: until the best network of the table, and until one of its best permille.
    With --targets: the share of the true front's hypervolume after 50, 100, 200 and 500.

    Example: nas bench search --table nasbench201_cifar10.csv.gz --targets pixel3
    """
    from hardware_profiles.artifact import write_atomic
    from nas.benchmarking.scores import read_scores
    from nas.benchmarking.search import SearchBenchmark, run_search_benchmark
    from nas.benchmarking.search_rows import search_table, write_search_rows
    from nas.benchmarking.tables import read_table
    from nas.progress import progress_bar
    from nas.reporting.search_curves import search_curves
    from nas.searching.searchers import SEARCHERS
    from search_spaces import build_space

    settings = SearchBenchmark(
        searchers=tuple(_words(searchers) or SEARCHERS),
        accuracy_column=accuracy_column,
        targets=tuple(_words(targets)),
        seeds=seeds,
        evaluations=evaluations,
        population=population,
        seed=seed,
        reference_error=reference_error,
        reference_latency=reference_latency,
    )
    built = build_space(space)
    read = read_table(table, built)
    features = read_scores(scores, built) if scores else None
    with progress_bar("bench", len(settings.searchers) * seeds) as advance:
        results = list(run_search_benchmark(read, settings, features, advance))
    rows = [row for row, _ in results]
    if out is not None:
        write_search_rows(out, rows)
    if plot is not None:
        label = f"share of the true hypervolume ({targets})" if targets else "best error so far (%)"
        curves = {row.searcher: (curve.evaluations, curve.quartiles) for row, curve in results}
        write_atomic(plot, search_curves(curves, label))
    if as_json:
        print_json({"rows": [row.model_dump(mode="json") for row in rows]})
        return
    print_table(search_table(rows, evaluations))


@bench_app.command("accuracy")
def accuracy(
    table: Annotated[Path, typer.Option(help="CSV, or .csv.gz: arch, accuracies (%) ...")],
    space: Annotated[str, typer.Option(help="Whose text form `arch` is.")] = "nasbench201",
    predictors: Annotated[str, typer.Option(help="Some only: MACs,ridge,auto.")] = "",
    accuracy_column: Annotated[
        str, typer.Option(help="What is guessed; without: the first with `acc` in its name.")
    ] = "",
    scores: Annotated[
        Path | None, typer.Option(help="CSV of zero-cost scores that predictors may know.")
    ] = None,
    samples: Annotated[str, typer.Option(help="Numbers of measured nets.")] = "20,50,100,200,400",
    draws: Annotated[int, typer.Option(min=1, help="Repetitions with other networks.")] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw Kendall by samples into this PNG file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Guess a table's accuracies from few measured networks; ranks on all others, each once.

    Equal networks are never both measured and tested. Figures are medians over the draws.

    Example: nas bench accuracy --table nasbench201_cifar10.csv.gz --predictors MACs,auto
    """
    from hardware_profiles.artifact import write_atomic
    from nas.benchmarking.accuracy import AccuracyBenchmark, run_accuracy_benchmark
    from nas.benchmarking.accuracy_rows import accuracy_table, kendall_curves
    from nas.benchmarking.scores import read_scores
    from nas.benchmarking.search_rows import write_search_rows
    from nas.benchmarking.tables import read_table
    from nas.progress import progress_bar
    from nas.reporting.search_curves import search_curves
    from search_spaces import build_space

    given = {"predictors": tuple(_words(predictors))} if predictors else {}
    settings = AccuracyBenchmark.model_validate(
        {
            "accuracy_column": accuracy_column,
            "samples": [_count(word) for word in _words(samples)],
            "draws": draws,
            "seed": seed,
            **given,
        }
    )
    built = build_space(space)
    read = read_table(table, built)
    known = read_scores(scores, built) if scores else None
    with progress_bar("bench", len(settings.samples) * draws) as advance:
        rows = list(run_accuracy_benchmark(read, settings, known, advance))
    if out is not None:
        write_search_rows(out, rows)
    if plot is not None:
        label = "Kendall's tau on unseen networks"
        write_atomic(plot, search_curves(kendall_curves(rows), label, "measured networks"))
    covered = None if known is None else int(known.covers(read.population).sum())
    if as_json:
        shown = [row.model_dump(mode="json") for row in rows]
        print_json({"rows": shown, "architectures": len(read.population), "with_scores": covered})
        return
    print_table(accuracy_table(rows))
    if covered is not None:
        typer.echo(f"scores for {covered} of {len(read.population)} architectures of the table")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _count(word: str) -> int:
    if not word.isdecimal():
        raise InputError(f"--samples: expected numbers like 3,5,10, got {word!r}")
    return int(word)

"""The commands that train subnets of a run alone: to be exported, or to audit the supernet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.terminal import Json, print_json, print_rows, print_table

if TYPE_CHECKING:
    from nas.finetuning.agreement import Agreement
    from nas.finetuning.audit import AuditReport

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


def finetune(
    run: RunPath,
    architecture: Annotated[
        str, typer.Argument(metavar="ARCH", help='Id, "smallest", "largest", JSON file or text.')
    ],
    epochs: Annotated[int, typer.Option(min=1, help="Of the training data.")] = 5,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the start; without it a tenth of the recipe's.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="training.KEY=VALUE", help="Change a setting of section training."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a subnet on, distilled from the run's largest; nas export then takes its weights.

    Ctrl-C and the same command go on where it stopped.

    Example: nas finetune runs/digits smallest --epochs 10
    """
    from nas import pipeline
    from nas.config import read_training_settings
    from nas.results import metric_text
    from nas.run_directory import open_run

    opened = open_run(run)
    given = read_training_settings(overrides or ())
    options = {"epochs": given.pop("epochs", epochs)}
    options["learning_rate"] = given.pop("learning_rate", learning_rate)
    record = pipeline.finetune(opened, architecture, **options, **given)
    assert record.result is not None
    before, after = record.result.inherited, record.result.trained
    if as_json:
        path = opened.finetuned_path / record.architecture_id / "checkpoint.safetensors"
        settings = record.config
        print_json(
            {
                "architecture_id": record.architecture_id,
                "checkpoint_path": str(path),
                "epochs": settings.epochs,
                "learning_rate": settings.learning_rate,
                "teacher": record.teacher,
                **record.result.model_dump(mode="json"),
            }
        )
        return
    task, n = opened.recipe.task, record.result.validation_samples
    metric = task.metric_name
    print_rows(
        [
            ("subnet", record.architecture_id),
            ("learnt from", "labels and the largest" if record.teacher else "labels"),
            (
                f"validation {metric}",
                f"{metric_text(metric, before.accuracy)} -> {metric_text(metric, after.accuracy)}",
            ),
            (f"validation {task.loss_name}", f"{before.loss:.4g} -> {after.loss:.4g}"),
            ("validation samples", str(n)),
            ("export it", f"nas export {run} {record.architecture_id}"),
        ]
    )


def audit(
    run: RunPath,
    subnets: Annotated[int, typer.Option(min=4, help="How many, spread over the MACs.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Of training, each.")] = 1,
    alone: Annotated[
        bool, typer.Option("--alone", help="From fresh weights, not from inherited ones.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Without it the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV of every subnet's scores.")] = None,
    as_json: Json = False,
) -> None:
    """Tell how well inherited weights rank subnets: some are trained alone, and compared.

    They learn from labels, without a teacher. Ctrl-C and the same command go on where it stopped.

    Example: nas audit runs/digits --subnets 8 --epochs 2
    """
    from nas import pipeline

    report = pipeline.audit(run, subnets=subnets, epochs=epochs, alone=alone, seed=seed)
    if out is not None:
        report.write_csv(out)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)


def _show(report: "AuditReport") -> None:
    from rich.table import Table

    from nas.results import metric_text

    trained = "fine-tuned" if report.start == "inherited" else "alone"
    table = Table(box=None, title_justify="left", title=f"{report.budget} each, on labels alone")
    table.add_column("subnet")
    names = [
        f"{when} {what}" for what in (report.metric, report.loss) for when in ("inherited", trained)
    ]
    for name in ("MACs", "parameters", *names):
        table.add_column(name, justify="right")
    for one in report.subnets:
        table.add_row(
            one.architecture_id,
            f"{one.macs:,}",
            f"{one.num_params:,}",
            *(metric_text(report.metric, s.accuracy) for s in (one.inherited, one.trained)),
            *(f"{s.loss:.4g}" for s in (one.inherited, one.trained)),
        )
    print_table(table)
    ranks = Table(box=None, title_justify="left", title="ranks of inherited against trained")
    ranks.add_column("")
    for name in (report.metric, report.loss):
        ranks.add_column(name, justify="right")
    both = (report.accuracy_agreement, report.loss_agreement)
    for name, *values in zip(*map(_cells, both), strict=True):
        ranks.add_row(name[0], name[1], values[0][1])
    print_table(ranks)
    typer.echo(report.verdict)


def _cells(found: "Agreement") -> list[tuple[str, str]]:
    interval = "n/a" if found.interval is None else "{:.2f} to {:.2f}".format(*found.interval)
    rows = [
        ("Kendall", _rank(found.kendall)),
        ("its 90% interval", interval),
        ("Spearman", _rank(found.spearman)),
        (f"share of the best {found.top} kept", f"{found.top_overlap:.2f}"),
        ("mean gap, trained - inherited", f"{found.mean_gap:+.4g}"),
    ]
    rows += [(f"halves of validation, {k}", _rank(v)) for k, v in found.repeatability.items()]
    rows += [(f"Kendall of {name}", _rank(tau)) for name, tau in found.baselines.items()]
    return [*rows, ("subnets", str(found.n))]


def _rank(tau: float | None) -> str:
    return "n/a" if tau is None else f"{tau:.3f}"

"""The commands that train: a supernet, or subnets of one, to be exported or to audit it."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli_network import run_of_model
from nas.terminal import Json, print_json, print_rows, print_table
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Recipe
    from nas.finetuning.agreement import Agreement
    from nas.finetuning.audit import AuditReport

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; without it runs/NAME.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting of the recipe."),
]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="python:...", help="Your own network: a function returning it and an example input."
    ),
]


def train(
    context: typer.Context,
    recipe_or_run: Annotated[Path, typer.Argument(metavar="RECIPE|RUN")],
    out: Out = None,
    overrides: Overrides = None,
    model: Model = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="End after so long with a checkpoint and code 4, if not done."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try some steps, estimate the rest, write nothing.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of a dry run, at each of 5 epochs: 3 without.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Of training, that a dry run estimates by.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Of the training, of which a dry run tries one.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Of a dry run: one JSON object on stdout.")
    ] = False,
) -> None:
    """Train the supernet alone; Ctrl-C and the same command go on at the last checkpoint.

    Example: nas train recipes/digits.toml --out runs/a

    Example: torchrun --nproc-per-node=2 -m nas train recipes/digits.toml

    Example: nas train recipes/imagenet.toml --dry-run --samples 1281167 --processes 8
    """
    start = time.monotonic()
    of_training = {"--out": out, "--minutes": minutes, "--model": model}
    of_dry_run = {"--steps": steps, "--samples": samples, "--processes": processes}
    if dry_run:
        _refuse("of a training, not of a dry run", of_training)
    else:
        _refuse("of a dry run; add --dry-run", of_dry_run | {"--json": as_json or None})
    _recipe_unless_run(recipe_or_run, out, overrides, model)
    from nas import pipeline
    from nas.training.ranks import Ranks

    ranks: Ranks = context.obj or Ranks()
    if dry_run:
        if ranks.size > 1:
            raise InputError("a dry run is of one process: leave out torchrun, add --processes N")
        tried = pipeline.dry_run(
            recipe_or_run,
            overrides or (),
            steps=steps or 3,
            samples=samples,
            processes=processes or 1,
        )
        if as_json:
            print_json(asdict(tried))
        else:
            print_rows(tried.rows())
        return
    run = ranks.first_then_others(lambda: create_or_open(recipe_or_run, out, overrides, model))
    left = None if minutes is None else minutes - (time.monotonic() - start) / 60
    checkpoint = pipeline.train(run, left, ranks)
    if ranks.is_first:
        typer.echo(checkpoint)


def _refuse(words: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} is {words}")


def import_weights(
    space: Annotated[str, typer.Argument(help="mobilenet-v3, mobilenet-v3-w1.2 or resnet-50d.")],
    file: Annotated[Path, typer.Argument(help="Once-for-all's published weights.")],
    out: Annotated[
        Path | None, typer.Option(help="What to write; without it SPACE.safetensors.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn published supernet weights into a file that a run starts from; no code of FILE is run.

    Example: nas import-weights mobilenet-v3 ofa_mbv3_d234_e346_k357_w1.0
    """
    if not file.is_file():  # before what takes seconds to import
        raise InputError(f"{file}: cannot be read: no such file")
    from nas import pipeline

    imported = pipeline.import_weights(space, file, out)
    if as_json:
        print_json(imported)
        return
    rows = [("weights", str(imported["path"])), ("parameters", f"{imported['num_params']:,}")]
    flag = " --set training.kernel_transform=true" if imported["kernel_transform"] else ""
    rows.append(
        (
            "search them",
            f"nas run --set space.name={space} --set training.weights="
            f"{imported['path']} --set training.epochs=0{flag} --set data.source=...",
        )
    )
    print_rows(rows)


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
    from nas.config import read_training_settings
    from nas.run_file import read_run_file

    read_run_file(run)  # before what takes seconds to import
    given = read_training_settings(overrides or ())
    from nas import pipeline
    from nas.results import metric_text
    from nas.run_directory import open_run

    opened = open_run(run)
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
    measure = "" if opened.profile_path.exists() else f"nas profile measure {run}, then "
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
            ("export it", f"{measure}nas export {run} {record.architecture_id}"),
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
    from nas.run_file import read_run_file

    read_run_file(run)  # before what takes seconds to import
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


def create_or_open(
    recipe: Path | None, out: Path | None, overrides: list[str] | None, model: str | None = None
) -> Any:
    """Return the run that a command is about.

    Raises:
        InputError: as `nas.create_run`; or changes to a run, whose recipe is fixed.
    """
    loaded = _recipe_unless_run(recipe, out, overrides, model)
    from nas.pipeline import create_run
    from nas.run_directory import open_run

    if loaded is None:
        assert recipe is not None
        return open_run(recipe)
    if model is not None:
        return run_of_model(model, recipe, out, overrides or ())
    return create_run(out or Path("runs") / loaded.name, loaded)


def _recipe_unless_run(
    recipe: Path | None,
    out: Path | None,
    overrides: list[str] | None,
    model: str | None,
) -> "Recipe | None":
    """Return the recipe that a command is about, None where it is a run; without PyTorch, which
    takes seconds to import.

    Raises:
        InputError: neither is there, or it cannot be read; or changes to a run.
    """
    from nas.config import load_recipe
    from nas.run_file import is_run, read_run_file

    if recipe is None or not is_run(recipe):
        return load_recipe(recipe, overrides or ())
    if out is not None or overrides or model is not None:
        raise InputError(
            f"{recipe} is a run: its recipe is fixed, so no --out, no --set and no --model"
        )
    read_run_file(recipe)
    return None

"""`report.html`: one file that tells a whole run, without a server and without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from hardware_profiles.artifact import write_atomic
from nas.reporting import formats
from nas.reporting.charts import front_chart, predictor_chart
from nas.reporting.facts import Facts, gather
from nas.reporting.predictor_facts import quantities
from nas.reporting.training_charts import TrainingCurve, comparison_chart, training_chart
from nas.run_directory import Run
from nas.training.metrics import epoch_records
from search_spaces import InputError


@dataclass(frozen=True)
class Charts:
    """Every chart as an `<svg>` element; None where its stage has not left anything to draw."""

    front: str | None
    predictors: str | None
    training: str | None
    comparison: str | None


def write_report(run: Run, beside: Sequence[Run] = ()) -> Path:
    """Write the report of what is there of a run, and return its path.

    Args:
        beside: runs whose training is drawn beside this one's.

    Raises:
        InputError: a file of a run is damaged; or a run beside it is not trained for an epoch yet,
            or judged by another metric.
    """
    facts = gather(run)
    curves = [training_curve(one, facts.metric) for one in (run, *beside)] if beside else []
    write_atomic(run.report_path, render(facts, draw(facts, curves)).encode())
    return run.report_path


def training_curve(run: Run, metric: str) -> TrainingCurve:
    """Return the training of a run, named after its folder and strategy.

    Raises:
        InputError: there is no epoch yet, or it has another metric.
    """
    records = epoch_records(run.metrics.read())
    if not records:
        raise InputError(f"{run.path}: no epoch is trained yet; `nas train {run.path}` first")
    if run.recipe.task.metric_name != metric:
        raise InputError(
            f"{run.path} is judged by {run.recipe.task.metric_name}, not by {metric}: their "
            "curves cannot be beside each other"
        )
    return TrainingCurve(f"{run.path.name}: {run.recipe.training.strategy}", records)


def draw(facts: Facts, curves: Sequence[TrainingCurve] = ()) -> Charts:
    """Draw what there is, and trainings beside each other where there are several."""
    current = [search for search in facts.searches if search.charted]
    fitted = [predictor for predictor in facts.predictors if len(predictor.measured)]
    return Charts(
        front=front_chart(
            current,
            facts.measured,
            quantities(facts.task)[current[-1].result.predicted_quantity],
            facts.metric,
        )
        if current
        else None,
        predictors=predictor_chart(fitted) if fitted else None,
        training=training_chart(
            facts.training.records,
            facts.training.events,
            facts.metric,
            quantities(facts.task)["loss"],
        )
        if facts.training.records
        else None,
        comparison=comparison_chart(curves, facts.metric) if curves else None,
    )


def render(facts: Facts, charts: Charts) -> str:
    """Fill the template; everything but the charts is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "budget": formats.budget,
        "cost": formats.cost,
        "metric": partial(formats.metric, name=facts.metric),
        "milliseconds": formats.milliseconds,
        "number": formats.number,
        "percent": formats.percent,
        "rank": formats.rank,
        "setting": formats.setting,
        "some": formats.some,
    }
    template = files("nas.reporting").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(facts=facts, charts=charts)

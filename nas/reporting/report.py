"""`report.html`: one file that tells a whole run, without a server and without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from hardware_profiles.artifact import write_atomic
from nas.progress import say
from nas.reporting import formats
from nas.reporting.beside import gather_beside
from nas.reporting.charts import front_chart, predictor_chart
from nas.reporting.facts import Facts, gather
from nas.reporting.predictor_facts import quantities
from nas.reporting.training_charts import TrainingCurve, comparison_chart, training_chart
from nas.run_directory import Run


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
        beside: runs whose training is drawn beside this one's. What keeps them from being compared
            is said, in the report and on stderr.

    Raises:
        InputError: a file of a run is damaged; or a run beside it is not trained for an epoch yet,
            or judged by another metric.
    """
    facts, others = gather(run), gather_beside(run, beside)
    text = render(facts, draw(facts, others.curves), others.warnings)
    write_atomic(run.report_path, text.encode())
    for warning in others.warnings:
        say(f"            {warning}")
    return run.report_path


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


def render(facts: Facts, charts: Charts, warnings: Sequence[str] = ()) -> str:
    """Fill the template; everything but the charts is escaped.

    Args:
        warnings: about trainings beside each other.
    """
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
    return environment.from_string(template).render(facts=facts, charts=charts, warnings=warnings)

import re
from html.parser import HTMLParser

import pytest

import nas
from nas.config import check_recipe
from nas.reporting.predictor_facts import Quantity
from nas.reporting.report import write_report
from nas.reporting.training_charts import TrainingCurve, comparison_chart, training_chart
from nas.run_directory import Run
from search_spaces import InputError
from tests.nas.reporting import fake_run as fake

LOSS = Quantity("validation cross-entropy", "nats", 1.0)


def records(epochs: int, **roles: float) -> list[dict]:
    """Losses that fall, a minute an epoch, and every second epoch the accuracy of both ends."""
    made = []
    for epoch in range(1, epochs + 1):
        losses = {role: loss / epoch for role, loss in roles.items()}
        record = {"epoch": epoch, "loss": 2 / epoch, "losses": losses, "learning_rate": 0.1}
        record["seconds"] = 60.0
        if epoch % 2 == 0:
            record |= {"smallest_accuracy": 0.5, "largest_accuracy": 0.8}
        made.append(record)
    return made


class Words(HTMLParser):
    """The words of an SVG, in order."""

    def __init__(self, svg: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(svg)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.found.append(data.strip())


def words(svg: str) -> list[str]:
    return Words(svg).found


def test_every_role_has_a_curve_and_every_kind_of_event_a_line():
    events = [
        {"event": "skipped", "epoch": 2, "steps": 3},
        {"event": "roll-back", "epoch": 3, "reason": "why", "to_epoch": 1},
        {"event": "skipped", "epoch": 4, "steps": 1},
    ]
    made = records(4, largest=2.0, random=2.5, smallest=3.0)
    shown = words(training_chart(made, events, "accuracy", LOSS))
    for label in ("loss, largest", "loss, random", "loss, smallest", "skipped", "roll-back"):
        assert shown.count(label) == 1, label
    assert "training loss, measured (nats)" in shown
    assert "validation accuracy, measured (%)" in shown
    assert "channels sorted" not in shown


def test_lines_of_events_are_on_all_panels():
    made = records(4, largest=2.0)
    plain = training_chart(made, [], "accuracy", LOSS)
    event = {"event": "channels sorted", "epoch": 2, "weights": 9}
    marked = training_chart(made, [event], "accuracy", LOSS)
    color = "var(--chosen)"
    assert plain.count(color) == 0
    assert marked.count(color) == 3 + 1  # and once in the legend


def test_without_roles_or_evaluations_loss_and_rate_are_drawn():
    made = [{"epoch": 1, "loss": -2.0, "learning_rate": 0.1}]
    shown = words(training_chart(made, [], "accuracy", LOSS))
    assert "loss, of a step" in shown
    assert not any(word.startswith("validation") for word in shown)


def test_a_role_without_any_good_step_has_no_curve():
    made = records(2, largest=2.0)
    for record in made:
        record["losses"]["random"] = None
    shown = words(training_chart(made, [], "accuracy", LOSS))
    assert "loss, largest" in shown
    assert "loss, random" not in shown


def test_trainings_beside_each_other_are_drawn_over_minutes():
    curves = [
        TrainingCurve("a: sandwich", records(4, largest=2.0)),
        TrainingCurve("b: delayed", records(6, largest=3.0)),
    ]
    shown = words(comparison_chart(curves, "accuracy"))
    assert shown.count("minutes of training") == 3
    assert {"a: sandwich", "b: delayed"} <= set(shown)
    untimed = [{k: v for k, v in record.items() if k != "seconds"} for record in records(2)]
    shown = words(comparison_chart([curves[0], TrainingCurve("old", untimed)], "accuracy"))
    assert "minutes of training" not in shown
    assert shown.count("epoch") == 3


# --- in the report --------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path) -> list[Run]:
    made = [fake.new_run(tmp_path / name) for name in ("first", "second", "third")]
    for run in made[:2]:
        fake.train(run)
    return made


def test_the_report_names_the_strategy_and_tells_what_happened(runs):
    run = runs[0]
    reason = f"the loss is {fake.HOSTILE}"
    run.metrics.append({"event": "roll-back", "epoch": 6, "reason": reason, "to_epoch": 4})
    text = write_report(run).read_text()
    told = " ".join(words(re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)))
    assert "Strategy strategy sandwich schedule cosine distillation kl dropout 0" in told
    assert "num_random 2" in told
    assert f"6 roll-back reason: {reason}, to epoch: 4" in told
    assert fake.HOSTILE not in text
    assert "full_share" not in told.partition("Recipe: training")[0]


def test_runs_beside_a_run_are_in_its_report(runs):
    text = nas.report(runs[0], beside=[runs[1].path]).read_text()
    assert {"first: sandwich", "second: sandwich"} <= set(words(text))
    assert "first: sandwich" not in nas.report(runs[0]).read_text()


def test_a_run_without_epochs_cannot_be_beside_another(runs):
    with pytest.raises(InputError, match="third: no epoch is trained yet"):
        nas.report(runs[0], beside=[runs[2]])


def like_first(run: Run, path, recipe: dict | None = None, **fields) -> Run:
    """A trained run like another one, but for what its files say otherwise."""
    changed = {**run.file.recipe, **(recipe or {})}
    made = Run(
        path, check_recipe(changed), run.file.model_copy(update={"recipe": changed, **fields})
    )
    path.mkdir()
    made.file.save(path / "run.json")
    fake.train(made)
    return made


def test_other_data_beside_a_run_are_told_in_the_report_and_on_stderr(runs, tmp_path, capsys):
    samples = {"train": 12, "validation": 34, "test": 56}
    recipe = {"data": {**runs[0].file.recipe["data"], "source": f"npz:{fake.HOSTILE}"}}
    fields = {"data_sha256": "0" * 64, "num_samples": samples}
    other = like_first(runs[0], tmp_path / "other", recipe, **fields)
    text = nas.report(runs[0], beside=[runs[1], other]).read_text()
    said = (
        f"{other.path} was trained and validated on other data (npz:{fake.HOSTILE}, 12 training "
        "and 34 validation samples)"
    )
    told = " ".join(words(re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)))
    assert told.count("on other data") == 1
    assert said in told
    assert said in capsys.readouterr().err
    assert fake.HOSTILE not in text


def test_the_same_data_beside_a_run_need_no_word(runs, capsys):
    assert "compare" not in nas.report(runs[0], beside=[runs[1]]).read_text()
    assert "compare" not in capsys.readouterr().err


@pytest.mark.parametrize("same_name", [True, False])
def test_losses_of_another_function_are_told(runs, tmp_path, capsys, same_name):
    ours, theirs = "python:mine:loss", "python:mine:loss" if same_name else "python:mine:other"
    first = like_first(
        runs[0], tmp_path / "a", {"task": {"loss": ours}}, functions={ours: "1" * 64}
    )
    second = like_first(
        runs[0], tmp_path / "b", {"task": {"loss": theirs}}, functions={theirs: "2" * 64}
    )
    assert "their losses do not compare" in write_report(first, [second]).read_text()
    assert f"{second.path} learns by {theirs}" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["python:mine:f1", "python:theirs:f1", "accuracy"])
def test_another_metric_beside_a_run_is_refused(runs, tmp_path, metric):
    """Also where both functions have one name."""
    ours = "python:mine:f1"
    first = like_first(
        runs[0], tmp_path / "a", {"task": {"metric": ours}}, functions={ours: "1" * 64}
    )
    second = like_first(
        runs[0], tmp_path / "b", {"task": {"metric": metric}}, functions={metric: "2" * 64}
    )
    with pytest.raises(InputError, match=r"b is judged by .* cannot be beside"):
        write_report(first, [second])
    assert not first.report_path.exists()


def test_on_the_command_line(runs, nas_command):
    answer = nas_command("report", runs[0].path, "--beside", runs[1].path)
    assert answer.code == 0, answer.stderr
    assert "second: sandwich" in runs[0].report_path.read_text()
    nas_command("report", runs[0].path, "--beside", runs[0].path / "no").assert_refused(
        "is not a run"
    )

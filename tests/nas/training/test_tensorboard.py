import importlib.util
import json

import pytest

import nas
from nas.append_log import AppendLog
from nas.config import load_recipe
from nas.pipeline import create_run
from nas.training.tensorboard import TensorBoardMetrics, drawn
from search_spaces import MissingExtraError
from search_spaces.errors import UnfinishedError
from tests.conftest import ROOT

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None,
    reason="TensorBoard is absent; pip install tensorboard",
)


def epoch(number: int, loss: float, **more: float) -> dict:
    losses = {"largest": loss, "smallest": loss + 1}
    return {"epoch": number, "loss": loss, "losses": losses, "learning_rate": 0.1, **more}


@pytest.fixture
def log(tmp_path) -> AppendLog:
    return AppendLog(tmp_path / "metrics.jsonl")


def points(folder, tag: str) -> dict[int, float]:
    """What TensorBoard shows of a curve, read as it reads it: step -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder)).Reload().Scalars(tag)
    assert len({one.step for one in shown}) == len(shown), "a step is there twice"
    return {one.step: round(one.value, 4) for one in shown}


def texts(folder) -> dict[str, list[tuple[int, str]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(one.step, one.tensor_proto.string_val[0].decode()) for one in shown.Tensors(tag)]
        for tag in shown.Tags()["tensors"]
    }


@needs_tensorboard
def test_records_are_kept_and_drawn(tmp_path, log):
    with drawn(log, tmp_path / "events") as metrics:
        metrics.keep_first(0)
        metrics.append(epoch(1, 2.0, samples_per_second=50.0))
        metrics.append(epoch(2, 1.5, smallest_accuracy=0.5, largest_accuracy=0.75))
    assert [record["epoch"] for record in log.read()] == [1, 2]
    assert points(tmp_path / "events", "loss/largest") == {1: 2.0, 2: 1.5}
    assert points(tmp_path / "events", "loss/smallest") == {1: 3.0, 2: 2.5}
    assert points(tmp_path / "events", "learning rate") == {1: 0.1, 2: 0.1}
    assert points(tmp_path / "events", "samples a second") == {1: 50.0}
    assert points(tmp_path / "events", "validation/smallest") == {2: 0.5}
    assert points(tmp_path / "events", "validation/largest") == {2: 0.75}


@needs_tensorboard
def test_a_role_without_a_good_step_is_not_drawn(tmp_path, log):
    with drawn(log, tmp_path / "events") as metrics:
        metrics.keep_first(0)
        metrics.append(epoch(1, 2.0) | {"losses": {"largest": 2.0, "random": None}})
    assert points(tmp_path / "events", "loss/largest") == {1: 2.0}
    with pytest.raises(KeyError):
        points(tmp_path / "events", "loss/random")


@needs_tensorboard
def test_what_is_repeated_after_a_kill_replaces_what_was_drawn(tmp_path, log):
    first = TensorBoardMetrics(log, tmp_path / "events")
    first.keep_first(0)
    skipped = {"event": "skipped", "epoch": 3, "steps": 2}
    for record in (epoch(1, 4.0), epoch(2, 3.0), skipped, epoch(3, 9.0)):
        first.append(record)
    first.close()
    with drawn(log, tmp_path / "events") as again:
        again.keep_first(3)  # the checkpoint is of before the end of epoch 3
        again.append(epoch(3, 2.0))
        again.append(epoch(4, 1.0))
    assert points(tmp_path / "events", "loss/largest") == {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}
    assert texts(tmp_path / "events") == {
        "events/skipped/text_summary": [(3, json.dumps({"steps": 2}))]
    }


@needs_tensorboard
def test_a_roll_back_takes_epochs_back_and_is_told(tmp_path, log):
    with drawn(log, tmp_path / "events") as metrics:
        metrics.keep_first(0)
        for number in (1, 2, 3):
            metrics.append(epoch(number, float(number)))
        told = {"event": "roll-back", "epoch": 4, "reason": "no finite loss", "to_epoch": 1}
        metrics.append(told)
        metrics.append(epoch(2, 0.5))
    assert points(tmp_path / "events", "loss/largest") == {1: 1.0, 2: 0.5}
    ((step, text),) = texts(tmp_path / "events")["events/roll-back/text_summary"]
    assert step == 4
    assert json.loads(text)["reason"] == "no finite loss"


@needs_tensorboard
def test_a_training_that_was_stopped_twice_has_every_point_once(tmp_path):
    settings = ["data.max_samples=64", "training.epochs=3", "training.num_random=0"]
    settings += ["training.tensorboard=true", "training.evaluate_every=2"]
    recipe = load_recipe(ROOT / "recipes" / "digits.toml", settings)
    run = create_run(tmp_path / "run", recipe)
    for _ in range(2):
        with pytest.raises(UnfinishedError):
            nas.train(run, minutes=0)
    nas.train(run)
    folder = tmp_path / "run" / "supernet" / "tensorboard"
    wanted = {one["epoch"]: round(one["losses"]["largest"], 4) for one in run.metrics.read()}
    assert points(folder, "loss/largest") == pytest.approx(wanted, abs=1e-4)
    assert sorted(points(folder, "validation/smallest")) == [2, 3]


def test_without_the_library_nothing_is_begun_and_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.training.tensorboard.find_spec", lambda name: None)
    recipe = load_recipe(ROOT / "recipes" / "digits.toml", ["training.tensorboard=true"])
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        create_run(tmp_path / "run", recipe)
    assert not list(tmp_path.iterdir())


def test_the_doctor_lists_the_extra(nas_command):
    extras = nas_command("doctor", "--json").json["extras"]
    assert extras["tensorboard"]["needs"] == "tensorboard"

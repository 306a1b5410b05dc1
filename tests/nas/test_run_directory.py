import json
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

import nas
from nas.config import Recipe, load_recipe
from nas.run_directory import create_run_directory, open_run
from search_spaces import InputError


@pytest.fixture
def npz(tmp_path):
    """A small data set in a file."""
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), y=np.arange(40) % 2)
    return path


def change(path, **values) -> None:
    data = json.loads((path / "run.json").read_text())
    data.update(values)
    (path / "run.json").write_text(json.dumps(data))


def contents(path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# --- a new run ------------------------------------------------------------------------------------


def test_a_new_run_knows_its_recipe_data_and_space(tmp_path, npz):
    recipe = load_recipe(None, [f"data.source=npz:{npz}", "seed=4"])
    run = create_run_directory(tmp_path / "deep" / "run", recipe)
    assert run.recipe == recipe
    assert open_run(tmp_path / "deep" / "run").recipe == recipe
    assert run.data.settings == {"num_classes": 2, "input_channels": 3}
    classifier = run.space.layers.layers(run.space.smallest())[-1][1]
    assert classifier.values["num_classes"] == 2
    stem = run.space.layers.layers(run.space.smallest())[0][1]
    assert stem.values["in_channels"] == 3
    data = json.loads((run.path / "run.json").read_text())
    assert data["seed"] == 4
    assert data["kind"] == "run"
    assert {"supernet-engine", "torch", "numpy", "onnxruntime", "python"} <= set(data["versions"])


def test_bad_data_is_refused_before_anything_is_written(tmp_path):
    recipe = load_recipe(None, ["data.source=npz:/no/such/file.npz"])
    with pytest.raises(InputError):
        create_run_directory(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "run").mkdir()
    assert create_run_directory(tmp_path / "run", Recipe()).recipe == Recipe()


# --- the same and other recipes -------------------------------------------------------------------


def test_the_same_recipe_opens_the_run(finished):
    recipe = finished.open().recipe
    before = contents(finished.path)
    assert create_run_directory(finished.path, recipe).recipe == recipe
    assert contents(finished.path) == before


def test_another_recipe_names_all_differing_keys(copied):
    recipe = open_run(copied).recipe
    training = recipe.training.model_copy(update={"epochs": 9, "momentum": 0.1})
    other = recipe.model_copy(update={"training": training, "seed": 5})
    before = contents(copied)
    with pytest.raises(InputError) as error:
        create_run_directory(copied, other)
    for key in ("training.epochs", "training.momentum", "seed"):
        assert key in str(error.value)
    assert "training.batch_size" not in str(error.value)
    assert contents(copied) == before


def test_foreign_folders_and_files_are_refused_and_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("important")
    with pytest.raises(InputError, match="no run"):
        create_run_directory(folder, Recipe())
    with pytest.raises(InputError, match="no run"):
        create_run_directory(folder / "thesis.tex", Recipe())
    assert contents(folder) == {"thesis.tex": b"important"}


def test_data_that_changed_since_is_refused(tmp_path, npz):
    recipe = load_recipe(None, [f"data.source=npz:{npz}"])
    create_run_directory(tmp_path / "run", recipe)
    with np.load(npz) as file:
        images, labels = file["x"].copy(), file["y"]
    images[0, 0, 0, 0] ^= 1
    np.savez(npz, x=images, y=labels)
    with pytest.raises(InputError, match=r"data\.npz has changed"):
        _ = open_run(tmp_path / "run").data


# --- damaged runs ---------------------------------------------------------------------------------


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"run\.json"):
            open_run(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_run_file_is_refused(copied, share):
    content = (copied / "run.json").read_bytes()
    (copied / "run.json").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"run\.json"):
        open_run(copied)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "profile"},
        {"recipe": {"training": {"epochs": 0}}},
        {"recipe": {"trainig": {}}},
        {"recipe": 5},
        {"stages": {"train": {"state": "half", "seconds": 1}}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_run_file_with_bad_values_is_refused(copied, values):
    change(copied, **values)
    with pytest.raises(InputError, match=r"run\.json"):
        open_run(copied)


def test_an_unknown_format_names_the_version_that_wrote_it(copied):
    change(copied, format=12, tool_version="9.8.7")
    with pytest.raises(InputError, match=r"format 12 written by version 9\.8\.7"):
        open_run(copied)


# --- stages ---------------------------------------------------------------------------------------


def test_finished_stages_are_recorded(finished):
    stages = finished.open().stages
    assert {"train", "profile", "accuracy", "predictors", "search", "report"} == set(stages)
    assert all(stage.state == "done" for stage in stages.values())
    assert all(stage.seconds >= 0 for stage in stages.values())


def test_a_stage_that_fails_stays_open_and_frees_the_run(copied):
    run = open_run(copied)
    with pytest.raises(RuntimeError, match="mine"), run.stage("export"):
        assert open_run(copied).stages["export"].state == "running"
        raise RuntimeError("mine")
    assert open_run(copied).stages["export"].state == "running"
    with open_run(copied).stage("export"):
        pass
    assert open_run(copied).stages["export"].state == "done"


def test_a_stage_that_was_done_stays_done_if_it_fails_again(copied):
    before = open_run(copied).stages["train"]
    with pytest.raises(RuntimeError, match="mine"), open_run(copied).stage("train"):
        raise RuntimeError("mine")
    assert open_run(copied).stages["train"] == before


def test_stages_do_not_nest(copied):
    run = open_run(copied)
    with pytest.raises(AssertionError, match="nest"), run.stage("train"), run.stage("profile"):
        pass


HOLDER = """
import sys
from nas.run_directory import open_run
with open_run(sys.argv[1]).stage("train"):
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_to_wait(copied, nas_command):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, copied],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "holding\n"
        answer = nas_command("train", copied)
        holder.communicate("")
    answer.assert_refused("another process", str(copied))
    assert nas_command("train", copied).code == 0


def test_what_a_killed_process_left_half_written_is_removed(copied):
    leftover = copied / "subnets" / ".0123456789.tmp"
    leftover.mkdir()
    (leftover / "model.onnx").write_bytes(b"half")
    (copied / ".run.json.77.tmp").write_text("half")
    before = set(contents(copied))
    with open_run(copied).stage("report"):
        pass
    gone = before - set(contents(copied))
    assert gone == {"subnets/.0123456789.tmp/model.onnx", ".run.json.77.tmp"}


# --- doing it again -------------------------------------------------------------------------------


def test_running_again_finds_all_work_done(copied):
    """Nothing is trained, profiled, sampled or searched anew, and the answer is the same."""
    run = open_run(copied)
    kept = {
        path: path.read_bytes()
        for path in (
            run.checkpoint_path,
            run.metrics.path,
            run.profile_path,
            run.accuracy_samples.path,
            run.evaluations.path,
        )
    }
    first = nas.run(recipe=run.recipe, out=copied)
    again = nas.run(recipe=run.recipe, out=copied)
    assert again.winner == first.winner
    assert again.budget_ms == first.budget_ms
    for path, content in kept.items():
        if path != run.evaluations.path:  # a copy may confirm its winner once more
            assert path.read_bytes() == content


def test_a_lost_profile_is_measured_again(copied):
    run = open_run(copied)
    run.profile_path.unlink()
    measured = nas.profile(copied)
    assert run.profile_path.is_file()
    assert len(measured.layers) == 25
    assert {subnet.role for subnet in measured.subnets} == {"calibration", "held_out"}
    assert len(measured.subnets) == 12


@pytest.mark.parametrize("loss", ["torn", "last record", "file"])
def test_metrics_that_are_lost_after_training_do_not_stop_the_run(copied, loss):
    path = copied / "supernet" / "metrics.jsonl"
    content = path.read_bytes()
    if loss == "torn":
        path.write_bytes(content[:-20])
    elif loss == "last record":
        path.write_bytes(content.splitlines(keepends=True)[0])
    else:
        path.unlink()
    assert nas.train(copied) == copied / "supernet" / "checkpoint.safetensors"


def test_a_profile_of_another_machine_is_refused(copied):
    path = copied / "profile.json"
    data = json.loads(path.read_text())
    data["target"]["device"] = "some other processor"
    path.write_text(json.dumps(data))
    for stage in (nas.profile, nas.fit_predictors, nas.search):
        with pytest.raises(InputError, match="some other processor"):
            stage(copied)


def test_a_profile_of_another_space_is_refused(copied):
    path = copied / "profile.json"
    data = json.loads(path.read_text())
    data["space"] = "mobilenet-v3@1"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="mobilenet-v3@1"):
        nas.search(copied)


def test_searching_before_training_says_what_to_do(tmp_path):
    create_run_directory(tmp_path / "run", Recipe())
    for stage in (nas.measure_accuracy, nas.fit_predictors, nas.search, nas.report):
        with pytest.raises(InputError, match=r"train|profile"):
            stage(tmp_path / "run")
    with pytest.raises(InputError):
        nas.export(tmp_path / "run", "largest")


# --- functions of the user's own ------------------------------------------------------------------

MINE = """
import torch.nn.functional as F
from search_spaces import build_space


def family(num_classes=10, input_channels=1):
    return build_space(
        "mobilenet-digits", num_classes=num_classes, input_channels=input_channels
    )


def loss(outputs, targets):
    return F.cross_entropy(outputs, targets)
"""


def test_functions_that_changed_since_are_refused(tmp_path, monkeypatch):
    source = tmp_path / "mine_of_a_run.py"
    source.write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    names = {"space.name": "python:mine_of_a_run:family", "task.loss": "python:mine_of_a_run:loss"}
    recipe = load_recipe(None, [f"{key}={name}" for key, name in names.items()])
    run = create_run_directory(tmp_path / "run", recipe)
    recorded = json.loads((run.path / "run.json").read_text())["functions"]
    assert recorded == dict.fromkeys(names.values(), sha256(MINE.encode()).hexdigest())
    again = open_run(run.path)
    assert again.space.num_dimensions
    assert again.task.loss_function is not None
    source.write_text(MINE + "# another\n")
    for look, name in (("space", "family"), ("task", "loss")):
        with pytest.raises(InputError, match=rf"{name} has changed since .*run was made from it"):
            getattr(open_run(run.path), look)


def test_functions_without_source_are_not_watched(tmp_path):
    name = "python:math:fsum"
    recipe = load_recipe(None, ["task.metric=accuracy", "task.distillation=" + name])
    run = create_run_directory(tmp_path / "run", recipe)
    assert json.loads((run.path / "run.json").read_text())["functions"] == {}
    assert open_run(run.path).task.distillation_function is not None


def test_a_folder_that_was_being_replaced_comes_back(copied):
    """A process was killed after the folder had left its name, before the new one took it."""
    folder = next(path for path in (copied / "subnets").iterdir() if path.is_dir())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.rename(folder.with_name(f".{folder.name}.old.tmp"))
    with open_run(copied).stage("export"):
        pass
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

import fcntl
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import nas
from nas.artifacts import load_supernet, subnet_evaluator, supernet_hash
from nas.exporting.manifest import Manifest
from nas.finetuning.fine_tuned import best_weights, fine_tune, fine_tuned_hash, load_inherited
from nas.finetuning.single_training import SingleTraining
from nas.run_directory import open_run
from nas.searching.known_architectures import find_architecture
from nas.subnet.calibrate import batch_norms, batch_statistics, calibrate
from nas.teachers import largest_teacher
from nas.training.batches import Batches
from nas.training.checkpoint import read_state
from search_spaces import InputError
from search_spaces.supernet import resize

TIMINGS = ("seconds", "samples_per_second")


def middle(run):
    """An architecture that is neither the smallest nor the largest."""
    return run.space.decode(run.space.sample(1, np.random.default_rng(5))[0])


def quiet(done, total, note):
    """Report to nobody."""


def stop_at(step):
    def report(done, total, note):
        if done == step:
            raise KeyboardInterrupt

    return report


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(one).items() if k not in TIMINGS} for one in lines]


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_stopped_and_resumed_is_as_uninterrupted(trained, tmp_path, stopped_at):
    architecture = middle(trained)
    folder = trained.finetuned_path / architecture.id
    whole = fine_tune(trained, architecture, 2, None, {}, quiet)
    expected, records = read_state(folder / "checkpoint.safetensors"), metrics(folder)
    folder.rename(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fine_tune(trained, architecture, 2, None, {}, stop_at(stopped_at))
    assert fine_tuned_hash(trained, architecture.id) is None, "unfinished weights are no weights"
    assert fine_tune(trained, architecture, 2, None, {}, quiet) == whole
    assert read_state(folder / "checkpoint.safetensors") == expected
    assert metrics(folder) == records


def test_a_damaged_last_checkpoint_is_trained_again(trained):
    architecture = middle(trained)
    whole = fine_tune(trained, architecture, 2, None, {}, quiet)
    (trained.finetuned_path / architecture.id / "checkpoint.safetensors").write_bytes(b"torn")
    assert fine_tune(trained, architecture, 2, None, {}, quiet) == whole


def test_what_is_finished_is_not_done_again(trained):
    whole = fine_tune(trained, middle(trained), 1, None, {}, quiet)
    assert fine_tune(trained, middle(trained), 1, None, {}, stop_at(1)) == whole


@pytest.mark.parametrize("name", ["middle", "largest"])
def test_it_learns_from_labels_and_from_the_largest_as_that_is_exported(trained, name):
    """One plain step on all samples without augmentation: the same descent by hand."""
    architecture = middle(trained) if name == "middle" else find_architecture(trained, name)
    still = {"shift": 0.0, "rotate": 0.0, "scale": 0.0, "batch_size": len(trained.data.train)}
    plain = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1e9}
    record = fine_tune(trained, architecture, 1, 0.5, {**still, **plain}, quiet)
    evaluator = subnet_evaluator(trained, load_supernet(trained))
    largest = find_architecture(trained, "largest")
    images = torch.from_numpy(trained.data.train.inputs[0]).float() / 255
    images = (images - trained.data.mean[0]) / trained.data.std[0]

    def sized(one):
        side = next(iter(evaluator.specs(one).values())).shape[-2:]
        return F.interpolate(images, size=side, mode="bilinear", antialias=True)

    subnet = evaluator.subnet(architecture)
    with batch_statistics(subnet):
        outputs = subnet(sized(architecture))
    loss = F.cross_entropy(outputs, torch.from_numpy(trained.data.train.targets))
    (logged,) = metrics(trained.finetuned_path / architecture.id)
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
    if name == "middle":
        teacher = largest_teacher("largest", load_supernet(trained), trained, record.config)
        with torch.no_grad():
            wanted = teacher.network(sized(largest)).softmax(dim=1)
        loss = loss + F.cross_entropy(outputs, wanted)
    gradients = torch.autograd.grad(loss, list(subnet.parameters()))
    weights = best_weights(trained, architecture, load_inherited(trained))
    found = weights.evaluator.subnet(architecture).parameters()
    pairs = list(zip(found, subnet.parameters(), gradients, strict=True))
    took = torch.cat([(after - before).detach().flatten() for after, before, _ in pairs])
    expected = torch.cat([-0.5 * gradient.flatten() for *_, gradient in pairs])
    assert torch.dist(took, expected) < 0.02 * expected.norm()
    assert record.teacher == ("largest" if name == "middle" else None)


def test_the_teacher_is_calibrated_on_augmented_samples(trained):
    """Its first norm knows the mean of other draws of them, not that of plain samples."""
    supernet, config = load_supernet(trained), trained.recipe.training.replaced(shift=0.3)
    largest = find_architecture(trained, "largest")
    draw = Batches(trained.data, config, torch.device("cpu"))
    everything, _ = draw(np.arange(len(trained.data.train)), torch.Generator().manual_seed(1))
    subnet = supernet.extract(largest)
    calibrate(subnet, [resize(everything, supernet.inputs(largest).values())])
    expected = batch_norms(subnet)[0].running_mean
    distances = []
    for augmentation in (config, config.replaced(shift=0.0, rotate=0.0, scale=0.0)):
        teacher = largest_teacher("largest", supernet, trained, augmentation)
        assert not teacher.training
        assert not any(one.requires_grad for one in teacher.parameters())
        distances.append(torch.dist(batch_norms(teacher)[0].running_mean, expected).item())
    assert distances[0] < 0.3 * distances[1]


def test_settings_follow_from_the_recipe_and_are_recorded(trained):
    recipe = trained.recipe.training
    record = fine_tune(trained, middle(trained), 1, None, {"weight_decay": 0.5}, quiet)
    assert record.config.learning_rate == pytest.approx(recipe.learning_rate / 10)
    assert (record.config.warm_up_epochs, record.config.epochs) == (0, 1)
    assert record.config.weight_decay == 0.5
    assert record.config.batch_size == recipe.batch_size
    path = trained.finetuned_path / record.architecture_id / "training.json"
    assert SingleTraining.load(path) == record
    assert "num_random" not in json.loads(path.read_text())["training"]


def test_the_supernet_stays_and_the_score_before_is_of_its_weights(trained):
    sha256, architecture = supernet_hash(trained), middle(trained)
    record = fine_tune(trained, architecture, 2, None, {}, quiet)
    assert supernet_hash(trained) == sha256 == record.supernet_sha256
    evaluator = subnet_evaluator(trained, load_supernet(trained))
    inherited = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
    assert record.result.inherited == inherited
    assert record.result.trained != inherited
    assert metrics(trained.finetuned_path / architecture.id)[-1]["validation_loss"] == (
        pytest.approx(record.result.trained.loss)
    )
    weights = best_weights(trained, architecture, load_inherited(trained))
    again = weights.evaluator.score(
        weights.evaluator.subnet(architecture), architecture, "validation"
    )
    assert again == record.result.trained
    assert weights.kind == "fine-tuned"


# --- refusals -------------------------------------------------------------------------------------


def test_other_settings_than_before_are_refused_by_name(trained, nas_command):
    architecture = middle(trained)
    fine_tune(trained, architecture, 1, None, {}, quiet)
    asked = ("finetune", trained.path, architecture.id, "--epochs", 2)
    answer = nas_command(*asked, "--set", "training.momentum=0.5")
    answer.assert_refused("other settings", "training.epochs", "training.momentum", "delete")
    assert fine_tune(trained, architecture, 1, None, {}, stop_at(1)).result is not None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"strategy": "sandwich"}, "of supernets"),
        ({"num_random": 3}, "of supernets"),
        ({"weights": "x"}, "of supernets"),
        ({"momentun": 0.9}, "momentum"),
        ({"momentum": 2}, "momentum"),
        ({"levels": 2}, "of supernets"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(trained, setting, words):
    with pytest.raises(InputError, match=words):
        nas.finetune(trained, "smallest", **setting)
    assert not trained.finetuned_path.exists()


def test_bad_requests_are_refused(trained, nas_command, tmp_path):
    nas_command("finetune", trained.path, "abcdef0123").assert_refused("abcdef0123", "smallest")
    nas_command("finetune", tmp_path, "smallest").assert_refused("is not a run")
    asked = ("finetune", trained.path, "smallest", "--set")
    nas_command(*asked, "search.budget=1").assert_refused("training.key=value")
    nas_command(*asked, "training.momentun=1").assert_refused("training.momentum")
    with (trained.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nas_command("finetune", trained.path, "smallest").assert_refused("another process")
        nas_command("audit", trained.path).assert_refused("another process")
    assert not trained.finetuned_path.exists()
    trained.checkpoint_path.unlink()
    nas_command("finetune", trained.path, "smallest").assert_refused("train first")
    nas_command("audit", trained.path).assert_refused("train first")


# --- the command line and exports -----------------------------------------------------------------


def test_the_command_tells_before_and_after(trained, nas_command):
    asked = ("finetune", trained.path, "smallest", "--epochs", 1, "--learning-rate", 0.02)
    answer = nas_command(*asked)
    assert answer.code == 0, answer.stderr
    assert "->" in answer.stdout
    again = nas_command(*asked, "--json").json
    assert again["learning_rate"] == 0.02
    assert again["validation_samples"] == len(trained.data.validation)
    assert again["checkpoint_sha256"] == read_state(Path(again["checkpoint_path"]))["sha256"]
    assert f"{again['inherited']['accuracy']:.2%} -> {again['trained']['accuracy']:.2%}" in (
        answer.stdout
    )


def test_an_export_takes_fine_tuned_weights_and_says_so(copied, nas_command):
    run = open_run(copied)
    architecture = find_architecture(run, "smallest")
    folder = run.subnets_path / architecture.id
    plain = nas.export(run, "smallest")
    logs = {log.path: log.path.read_bytes() for log in (run.accuracy_samples, run.evaluations)}
    record = nas.finetune(run, "smallest", epochs=1)
    tuned = nas.export(run, architecture.id)
    manifest = Manifest.load(folder / "manifest.json")
    assert (plain.weights, tuned.weights, manifest.weights) == (
        "inherited",
        "fine-tuned",
        "fine-tuned",
    )
    assert manifest.made_from["fine_tuned"] == record.result.checkpoint_sha256
    assert manifest.made_from["supernet"] == supernet_hash(run)
    assert manifest.validation_accuracy == record.result.trained.accuracy
    assert "fine-tuned network" in manifest.parity
    assert "supernet" not in manifest.parity
    assert tuned.files["model.onnx"] != plain.files["model.onnx"]
    assert nas.verify(folder).ok
    again = nas_command("export", copied, "smallest", "--inherited", "--json")
    assert again.json["files"] == plain.files
    manifest = Manifest.load(folder / "manifest.json")
    assert manifest.weights == "inherited"
    assert "fine_tuned" not in manifest.made_from
    assert logs == {path: path.read_bytes() for path in logs}, "they are of inherited weights"
    nas_command("export", copied, "--budgets", "50%", "--inherited").assert_refused("--inherited")


def test_the_winner_of_a_search_leaves_again_once_it_was_fine_tuned(copied):
    run = open_run(copied)
    before = nas.search(run)
    accuracy = run.evaluations.read()
    record = nas.finetune(run, before.winner.architecture_id, epochs=1)
    after = nas.search(run)
    assert after.winner.architecture_id == before.winner.architecture_id
    assert (before.winner.weights, after.winner.weights) == ("inherited", "fine-tuned")
    assert after.winner.validation_accuracy == record.result.trained.accuracy
    assert run.evaluations.read() == accuracy
    assert after.front == before.front
    folder = run.subnets_path / after.winner.architecture_id
    assert Manifest.load(folder / "manifest.json").budget_ms == after.budget_ms
    text = nas.report(run).read_text()
    assert "Fine-tuned subnets" in text
    assert "exported\nagain since" not in text
    nas.export(run, after.winner.architecture_id, inherited=True)
    assert "again since, with inherited weights" in nas.report(run).read_text()


def test_weights_of_another_supernet_or_unfinished_ones_are_left_alone(trained, capsys):
    architecture = middle(trained)
    folder = trained.finetuned_path / architecture.id
    with pytest.raises(KeyboardInterrupt):
        fine_tune(trained, architecture, 2, None, {}, stop_at(4))
    inherited = load_inherited(trained)
    assert best_weights(trained, architecture, inherited).kind == "inherited"
    assert "not finished" in capsys.readouterr().err
    record = fine_tune(trained, architecture, 2, None, {}, quiet)
    record.model_copy(update={"supernet_sha256": "0" * 64}).save(folder / "training.json")
    assert best_weights(trained, architecture, inherited).kind == "inherited"
    assert "another supernet" in capsys.readouterr().err
    record.save(folder / "training.json")
    (folder / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="--inherited"):
        best_weights(trained, architecture, inherited)

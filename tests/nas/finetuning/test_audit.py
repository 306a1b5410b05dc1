import csv

import numpy as np
import pytest
import torch

import nas
from nas.artifacts import load_supernet, new_supernet, subnet_evaluator
from nas.finetuning.agreement import Agreement
from nas.finetuning.audit import AuditReport, audit_run, verdict
from nas.finetuning.single_training import find_record, load_single
from nas.run_directory import open_run
from search_spaces import InputError
from search_spaces.single_network import single_network

NUM_SUBNETS = 4


def quiet(done, total, note):
    """Report to nobody."""


@pytest.fixture(scope="module")
def audited(small_run, tmp_path_factory):
    """A run and its audit."""
    import shutil

    run = open_run(shutil.copytree(small_run, tmp_path_factory.mktemp("audited") / "run"))
    return run, audit_run(run, NUM_SUBNETS, 1, "inherited", 0, quiet)


def test_subnets_are_spread_and_stated_with_both_scores(audited):
    run, report = audited
    ends = [
        run.space.decode(genome[0]).id for genome in (run.space.smallest(), run.space.largest())
    ]
    ids = [one.architecture_id for one in report.subnets]
    assert [ids[0], ids[-1]] == ends
    assert len(set(ids)) == NUM_SUBNETS
    assert [one.macs for one in report.subnets] == sorted(one.macs for one in report.subnets)
    evaluator = subnet_evaluator(run, load_supernet(run))
    for end, one in zip(ends, (report.subnets[0], report.subnets[-1]), strict=True):
        name = "smallest" if end == ends[0] else "largest"
        architecture = run.space.decode(getattr(run.space, name)()[0])
        subnet = evaluator.subnet(architecture)
        assert one.inherited == evaluator.score(subnet, architecture, "validation")
        assert one.trained != one.inherited


def test_the_summary_is_of_the_rows(audited):
    _, report = audited
    for name in ("accuracy", "loss"):
        found = getattr(report, f"{name}_agreement")
        gaps = [getattr(s.trained, name) - getattr(s.inherited, name) for s in report.subnets]
        assert found.mean_gap == pytest.approx(np.mean(gaps))
        assert (found.n, found.top) == (NUM_SUBNETS, 1)
        assert set(found.baselines) == {"parameters", "macs"}
    assert str(NUM_SUBNETS) in report.verdict
    assert "1 epoch of fine-tuning" in report.verdict


def test_training_is_on_labels_alone(audited):
    run, report = audited
    folders = [path.parent for path in run.audit_path.glob("*/*/training.json")]
    assert len(folders) == NUM_SUBNETS
    assert all(find_record(folder).teacher is None for folder in folders)
    (saved,) = run.audit_path.glob("*/audit.json")
    assert AuditReport.load(saved) == report


def test_an_interrupted_audit_ends_as_if_it_had_not_been(trained, audited):
    def stop(done, total, note):
        if done > total * 5 // 8:  # in the middle of the third
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_run(trained, NUM_SUBNETS, 1, "inherited", 0, stop)
    done = sorted(trained.audit_path.glob("*/*/checkpoint.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in done if find_record(path.parent).result}
    assert len(before) == 2
    assert audit_run(trained, NUM_SUBNETS, 1, "inherited", 0, quiet) == audited[1]
    assert before == {path: path.stat().st_mtime_ns for path in before}, "not trained again"


def test_alone_starts_from_fresh_weights(trained):
    report = audit_run(trained, NUM_SUBNETS, 1, "fresh", 3, quiet)
    assert report.subnets[-1].trained != report.subnets[-1].inherited
    smallest = trained.space.decode(trained.space.smallest()[0])
    folder = next(trained.audit_path.glob(f"alone-epochs-1-seed-3/{smallest.id}"))
    config = find_record(folder).config
    assert config.learning_rate == trained.recipe.training.learning_rate
    # the weights of one step lie near where they started: not near the supernet's
    network, _ = load_single(trained, smallest, folder)
    trained_slices = single_network(load_supernet(trained), smallest)
    first_slices = single_network(new_supernet(trained), smallest)
    for other in (trained_slices, first_slices):
        pairs = zip(network.parameters(), other.parameters(), strict=True)
        assert any(one.ndim > 1 and torch.dist(one, two) > 0.5 * two.norm() for one, two in pairs)


def test_the_command_prints_ranks_and_a_verdict(audited, nas_command, tmp_path):
    run, report = audited
    asked = ("audit", run.path, "--subnets", NUM_SUBNETS, "--out", tmp_path / "audit.csv")
    answer = nas_command(*asked)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.strip().endswith(report.verdict)
    for words in (
        "Kendall",
        "Spearman",
        "90% interval",
        "best 1 kept",
        "Kendall of macs",
        "halves",
    ):
        assert words in answer.stdout
    rows = list(csv.DictReader((tmp_path / "audit.csv").read_text().splitlines()))
    assert [row["architecture_id"] for row in rows] == [s.architecture_id for s in report.subnets]
    assert [float(row["trained_loss"]) for row in rows] == [s.trained.loss for s in report.subnets]
    found = nas_command("audit", run.path, "--subnets", NUM_SUBNETS, "--json").json
    assert found["loss_agreement"] == report.loss_agreement.model_dump(mode="json")


def test_audited_subnets_can_be_named(audited):
    from nas.searching.known_architectures import find_architecture

    run, report = audited
    wanted = report.subnets[1].architecture_id
    assert find_architecture(run, wanted[:6]).id == wanted


def test_too_few_subnets_are_refused(trained):
    with pytest.raises(InputError, match="4 subnets or more"):
        nas.audit(trained, subnets=3)


@pytest.mark.parametrize(
    ("tau", "interval", "macs", "words"),
    [
        (0.9, (0.6, 1.0), 0.5, "can trust it"),
        (0.6, (0.3, 0.9), 0.5, "do not prove it"),
        (0.5, (0.1, 0.9), 0.7, "no better than ranking by macs"),
        (0.5, (-0.1, 0.9), 0.2, "from chance"),
        (None, None, 0.2, "Nothing can be said"),
    ],
)
def test_the_verdict_is_no_bolder_than_the_numbers(tau, interval, macs, words):
    found = Agreement(
        n=8,
        kendall=tau,
        interval=interval,
        spearman=tau,
        top=2,
        top_overlap=0.5,
        mean_gap=0.1,
        repeatability={"inherited": 0.8, "trained": None},
        baselines={"parameters": None, "macs": macs},
    )
    assert words in verdict(found, "accuracy", "1 epoch of fine-tuning", 100)

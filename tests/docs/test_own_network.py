"""The commands and the code of the page, run as a reader would run them."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from nas.exporting.manifest import Manifest
from nas.exporting.verify import verify_folder
from nas.run_directory import open_run
from tests.conftest import ROOT
from tests.nas.command_line import Answer, CommandLine
from tests.nas.settings import LEAST

TEXT = (ROOT / "docs" / "own_network.md").read_text()
NETWORK, *SCRIPTS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    ((?:nas|python) .*)$", TEXT.replace("\\\n", ""), re.MULTILINE)
RUN = "runs/mine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the reader is: the file of the network, its weights, and the recipe."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "my_network.py").write_text(NETWORK)
    shutil.copy(ROOT / "recipes" / "own-network-short.toml", folder)
    return folder


@pytest.fixture(scope="module")
def answers(folder, tmp_path_factory) -> dict[str, Answer]:
    """What every command of the page answered, in the page's order; trainings and profiles are the
    shortest ones.
    """
    nas = CommandLine(tmp_path_factory.mktemp("commands"))
    found: dict[str, Answer] = {}
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "python":
            done = _python(folder, *arguments)
            found[command] = Answer(done.returncode, done.stdout, done.stderr)
            continue
        if arguments[0] == "train":
            arguments += [part for setting in LEAST for part in ("--set", setting)]
        if arguments[-1].endswith("/ID"):
            arguments[-1] = arguments[-1].replace("ID", _largest(folder))
        found[command] = nas(*arguments, folder=folder)
    nas.close()
    return found


def _python(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def _largest(folder) -> str:
    space = open_run(folder / RUN).space
    return space.decode(space.largest()[0]).id


def named(answers, *words: str) -> list[Answer]:
    """Answers of the commands that have all of these words."""
    found = [answer for command, answer in answers.items() if all(w in command for w in words)]
    assert found, words
    return found


def test_every_command_ends_well(answers):
    """A budget that this machine misses while it is busy, or a file that is slower than it was
    (code 1), is no mistake of the page.
    """
    assert len(answers) == len(COMMANDS) >= 10
    for command, answer in answers.items():
        may_miss = command.startswith(("nas search", "nas verify"))
        assert answer.code in ((0, 1) if may_miss else (0,)), (command, answer)
        assert "Traceback" not in answer.stderr


def test_the_page_shows_what_can_be_chosen(answers):
    answer = answers["nas elasticize python:my_network:network"]
    for line in filter(None, map(str.rstrip, answer.stdout.splitlines())):
        assert f"\n    {line}\n" in TEXT


def test_limits_are_kept(answers):
    (fixed,) = named(answers, "--fixed layer1")
    assert "named as fixed" in fixed.stdout
    assert "depth" not in fixed.stdout.partition("stays")[0]
    (wider,) = named(answers, "--widths 0.25")
    assert re.search(r"layer2.0.conv1.width +8, 16, 24, 32", wider.stdout)
    (some,) = named(answers, "--options")
    assert re.search(r"layer2.0.conv1.width +24, 32", some.stdout)
    assert re.search(r"stem.width +8, 12, 16", some.stdout)


def test_the_last_row_of_the_one_shot_table_is_the_network_itself(answers):
    (trained,) = named(answers, "python my_network.py")
    (table,) = named(answers, "nas one-shot")
    known, of_largest = (
        float(re.findall(r"(\d+\.\d+)%", answer.stdout)[-1]) for answer in (trained, table)
    )
    assert known > 95
    assert of_largest == pytest.approx(known, abs=1.5)  # norms are calibrated anew


def test_subnets_are_exported_and_proven(answers, folder):
    exported = folder / RUN / "subnets" / _largest(folder)
    checks = verify_folder(exported).checks
    assert all(check.ok for check in checks if check.name != "latency"), checks
    assert all(parity.ok for parity in Manifest.load(exported / "manifest.json").parity.values())
    assert (folder / RUN / "report.html").is_file()
    assert (folder / "my-net" / "space.json").is_file()


def test_normalisation_is_the_networks(answers, folder):
    run = open_run(folder / RUN)
    assert (run.recipe.data.mean, run.recipe.data.std) == ((0.3,), (0.375,))
    assert "MEAN, STD = 0.3, 0.375" in NETWORK
    assert run.file.num_samples == {"train": 1200, "validation": 300, "test": 297}


def test_from_python(answers, folder):
    """Largest equals network; the code of the page asserts it."""
    for i, code in enumerate(SCRIPTS):
        (folder / f"script{i}.py").write_text(code)
        done = _python(folder, f"script{i}.py")
        assert done.returncode == 0, done.stderr
        if "Gated" in code:
            assert f"script{i}.py:" in done.stdout
            assert "depends on the values of a tensor" in done.stdout

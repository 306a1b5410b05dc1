import tomllib

import pytest

import nas
from tests.conftest import ROOT
from tests.nas.command_line import python

NAMES = [
    "Recipe",
    "Run",
    "audit",
    "create_run",
    "dry_run",
    "elasticize",
    "export",
    "finetune",
    "fit_predictors",
    "import_weights",
    "load_recipe",
    "measure_accuracy",
    "one_shot",
    "open_run",
    "profile",
    "proxies",
    "report",
    "run",
    "search",
    "train",
    "verify",
]


def test_the_public_names_are_these():
    """Adding or removing one is a decision: change this list with it."""
    assert nas.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported_and_says_what_it_is(name):
    found = getattr(nas, name)
    assert found.__name__ == name
    assert found.__doc__


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = nas.nothing_here


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, nas\n"
        "sys.exit(str({'torch', 'numpy', 'sklearn', 'onnx'} & set(sys.modules) or ''))"
    )
    result = python(code)
    assert result.stderr.strip() == ""


def test_the_console_script_is_the_command_line():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"nas": "nas.cli:main"}


@pytest.mark.slow
def test_the_default_recipe_reaches_its_figures(tmp_path):
    """Digits, embedded: what the README promises a first run."""
    run = nas.create_run(tmp_path / "run", nas.Recipe())
    nas.train(run)
    from nas.artifacts import load_supernet, subnet_evaluator

    evaluator = subnet_evaluator(run, load_supernet(run))
    ends = [run.space.decode(g[0]) for g in (run.space.smallest(), run.space.largest())]
    score = evaluator.score(evaluator.subnet(ends[1]), ends[1], "test")
    assert score.accuracy >= 0.97
    macs = run.space.layers.costs(run.space.encode_all(ends)).macs
    assert macs[1] >= 10 * macs[0]

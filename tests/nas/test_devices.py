"""`nas devices` and `nas compare`: what is told of known profiles."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nas.comparing import compare_devices
from nas.known_devices import describe_devices
from search_spaces import InputError, SearchSpace, build_space
from tests.nas.known_profiles import ELSEWHERE, by_costs, keep, made_up, on

NEW = on(ELSEWHERE, device="New board")
ERROR = {"mape", "within_5", "within_10", "spearman", "kendall", "n"}


def bent(space, population):
    return 0.004 + 1.7 * by_costs(space, population) ** 0.9


def by_params(space, population):
    """A device that ranks otherwise: the weights are what it waits for."""
    return 0.01 + 1e-6 * space.layers.costs(population).num_params


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits) -> Path:
    """Known profiles of all kinds. Look, do not touch."""
    folder = tmp_path_factory.mktemp("devices")
    keep(folder, "board", made_up(digits))
    bare = made_up(digits, target=NEW, latency=bent, calibration=10, held_out=0, max_specs=0)
    keep(folder, "bare", bare)
    other = made_up(
        digits,
        target=on(ELSEWHERE, threads=2),
        latency=by_params,
        layer=lambda macs, num_params: 0.001 + 1e-6 * num_params,
        noise=0.002,
    )
    keep(folder, "by-params", other)
    resolutions = (("res8", (8,)), ("res16", (16,)))
    for name, options in resolutions:
        part = made_up(digits, options={"resolution": options}, calibration=8, held_out=4)
        keep(folder, name, part)
    keep(folder, "elsewhere", made_up(digits), space="mobilenet-cifar@1", space_settings={})
    (folder / "damaged.json").write_text('{"format": 1')
    too_few = made_up(digits, calibration=2, held_out=0, max_specs=0)
    keep(folder, "too-few", too_few, missing={"calibration": 8})
    return folder


@pytest.fixture(scope="module")
def digits() -> SearchSpace:
    """As the catalogue builds it."""
    return build_space("mobilenet-digits")


@pytest.fixture
def here(folder, monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("NAS_PROFILES", str(folder))
    monkeypatch.setattr("hardware_profiles.store.BUILT_IN", tmp_path)
    return folder


@pytest.fixture(scope="module")
def rows(folder, nas_command) -> dict[str, dict]:
    """What `nas devices --json` prints, by name; those that come with the tool are left out."""
    answer = nas_command("devices", "--json", profiles=folder)
    assert answer.code == 0, answer.stderr
    names = [row["name"] for row in answer.json]
    assert names == sorted(names)
    return {row["name"]: row for row in answer.json if (folder / f"{row['name']}.json").exists()}


# --- devices --------------------------------------------------------------------------------------


def test_every_known_profile_is_there(rows, folder):
    assert set(rows) == {path.stem for path in folder.glob("*.json")}


def test_a_row_states_target_and_error(rows, folder):
    row = rows["board"]
    assert row["target"]["device"] == ELSEWHERE.device
    assert row["target"] == json.loads((folder / "board.json").read_text())["target"]
    error = row["predictor_error"]
    assert set(error) == ERROR | {"noise_floor", "baselines"}
    assert error["n"] == 8
    assert 0 < error["mape"] < 0.05
    assert 0.9 < error["spearman"] <= 1
    assert 0 <= error["within_5"] <= error["within_10"] <= 1
    assert error["noise_floor"] == pytest.approx(0.01)
    assert {"constant", "macs"} <= set(error["baselines"])
    for baseline in error["baselines"].values():
        assert set(baseline) == ERROR
        assert baseline["n"] == 8
    assert error["baselines"]["constant"]["spearman"] is None
    assert (row["layers"], row["subnets"], row["missing"]) == (198, 22, {})


def test_transfer_is_told(rows):
    assert rows["bare"]["predictor"] == "transfer"
    assert "transfer" in rows["bare"]["reason"]
    assert rows["bare"]["layers"] == 0
    assert rows["bare"]["predictor_error"]["n"] == 10


def test_profiles_that_cannot_be_used_say_why_and_hide_no_other(rows):
    assert "damaged.json" in rows["damaged"]["problem"]
    assert "mobilenet-digits" not in rows["elsewhere"]["problem"]
    assert "3 or more" in rows["too-few"]["problem"]
    for name in ("damaged", "elsewhere", "too-few"):
        assert set(rows[name]) == {"name", "problem"}


def test_one_profile_by_name_or_file(here, rows):
    for name in ("board", str(here / "board.json")):
        (row,) = describe_devices(name)
        assert row["predictor_error"] == rows["board"]["predictor_error"]
    for name, words in (("bord", "'board'"), ("damaged", "damaged"), ("too-few", "3 or more")):
        with pytest.raises(InputError, match=words):
            describe_devices(name)


def test_no_profiles_are_an_empty_list(known):
    assert describe_devices() == []


def test_tables_for_people(folder, nas_command):
    answer = nas_command("devices", profiles=folder)
    assert answer.code == 0, answer.stderr
    for words in ("Pocket board", "New board", "transfer", "calibrated-table", "res16", "damaged"):
        assert words in answer.stdout
    one = nas_command("devices", "board", profiles=folder)
    assert one.code == 0, one.stderr
    for words in ("Pocket board", "baseline constant", "baseline macs", "MAPE", "Kendall"):
        assert words in one.stdout
    nas_command("devices", "bord", profiles=folder).assert_refused("'board'")


# --- compare --------------------------------------------------------------------------------------


def test_a_device_ranks_like_itself(here):
    figures = compare_devices("board", str(here / "board.json")).to_json()
    assert figures["space"] == "mobilenet-digits@1"
    assert figures["predicted"]["spearman"] == pytest.approx(1)
    assert figures["predicted"]["kendall"] == pytest.approx(1)
    assert figures["predicted"]["n"] > 1000
    assert figures["measured"]["n"] == 22
    assert figures["measured"]["spearman"] == pytest.approx(1)


def test_predicted_and_measured_are_told_apart(here):
    figures = compare_devices("board", "by-params").to_json()
    assert figures["predicted"]["spearman"] < 0.95
    assert figures["measured"]["n"] == 22, "the same plan"
    assert figures["measured"]["spearman"] != figures["predicted"]["spearman"]


def test_measured_pairs_are_of_the_same_subnet(here, digits):
    comparison = compare_devices("board", "by-params")
    profile = json.loads((here / "board.json").read_text())
    expected = [s["latency_ms"] for s in profile["subnets"]]
    np.testing.assert_allclose(np.sort(comparison.measured_ms[0]), np.sort(expected))
    population = digits.encode_all(digits.architecture(s["values"]) for s in profile["subnets"])
    order = np.argsort(comparison.measured_ms[0])
    exact = by_params(digits, population)[np.argsort(expected)]
    np.testing.assert_allclose(comparison.measured_ms[1][order], exact, rtol=0.02)


def test_predictions_are_of_what_both_cover(here, digits):
    comparison = compare_devices("board", "res8")
    genome = digits.largest()
    genome[0, 0] = 0
    assert digits.decode(genome[0]).values["resolution"] == 8
    for predicted in comparison.predicted_ms:
        assert len(predicted) > 500
        assert predicted.max() <= 1.05 * by_costs(digits, genome)[0]
    assert comparison.predicted_ms[0].max() < 0.7 * by_costs(digits, digits.largest())[0]


def test_profiles_that_do_not_compare(here):
    with pytest.raises(InputError, match=r"mobilenet-digits@1.*mobilenet-cifar@1"):
        compare_devices("board", "elsewhere")
    with pytest.raises(InputError, match="resolution"):
        compare_devices("res8", "res16")
    with pytest.raises(InputError, match="'board'"):
        compare_devices("board", "bord")


@pytest.mark.parametrize("kind", ["png", None])
def test_the_plot_and_json(folder, nas_command, tmp_path, kind):
    out = [] if kind is None else ["--out", f"new/plot.{kind}"]
    answer = nas_command(
        "compare", "board", "bare", *out, "--json", profiles=folder, folder=tmp_path
    )
    assert answer.code == 0, answer.stderr
    data = answer.json
    assert data["devices"] == ["board", "bare"]
    assert data["plot"] == (out[1] if out else "compare-board-bare.svg")
    begins = (tmp_path / data["plot"]).read_bytes()[:200]
    assert (b"PNG" if kind == "png" else b"<?xml") in begins
    assert data["predicted"]["spearman"] > 0.95
    for group in ("predicted", "measured"):
        assert set(data[group]) == {"n", "spearman", "kendall"}
        assert all(value is None or math.isfinite(value) for value in data[group].values())


def test_compare_for_people(folder, nas_command, tmp_path):
    answer = nas_command("compare", "board", "by-params", profiles=folder, folder=tmp_path)
    assert answer.code == 0, answer.stderr
    assert "predicted latency" in answer.stdout
    assert "measured latency" in answer.stdout
    assert "compare-board-by-params.svg" in answer.stdout


@pytest.mark.parametrize("name", ["plot.doc", "plot", ".svg.exe"])
def test_other_kinds_of_pictures_are_refused(folder, nas_command, tmp_path, name):
    answer = nas_command(
        "compare", "board", "board", "--out", name, profiles=folder, folder=tmp_path
    )
    answer.assert_refused(".svg", ".png")
    assert list(tmp_path.glob(f"*{name}")) == []

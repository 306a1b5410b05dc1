import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nas.reporting import formats, report
from nas.reporting.facts import gather
from nas.reporting.report import write_report
from nas.results import SearchResult
from nas.run_directory import Run, open_run
from search_spaces import InputError
from tests.nas.reporting import fake_run as fake

VOID = {"meta", "br", "use", "link", "img", "path"}


class Page(HTMLParser):
    """Collects what the tests look at: every start tag, the words, tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += f" {data}"

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A run with everything, and its report. Look, do not touch."""
    run = fake.fake_run(tmp_path_factory.mktemp("whole") / "run")
    write_report(run)
    return run


@pytest.fixture
def text(whole) -> str:
    return whole.report_path.read_text(encoding="utf-8")


@pytest.fixture
def page(text) -> Page:
    return Page(text)


@pytest.fixture
def copied(whole, tmp_path) -> Run:
    return open_run(shutil.copytree(whole.path, tmp_path / "run"))


def report_of(run: Run) -> Page:
    return Page(write_report(open_run(run.path)).read_text(encoding="utf-8"))


def test_the_page_refers_to_nothing_outside_itself(text, page):
    for address in re.findall(r"\w+://[^\s\"'<]*", text):
        assert address in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
    assert not {"script", "link", "img", "iframe", "object", "base"} & {t for t, _ in page.tags}
    assert "@import" not in text
    for _, attributes in page.tags:
        assert "src" not in attributes
        target = attributes.get("href") or attributes.get("xlink:href") or "#"
        assert target.startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference.startswith("#")


def test_the_page_is_well_formed_and_its_references_resolve(text, page):
    assert page.open == []
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    used = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert used
    assert set(used) <= set(identifiers)


def test_hostile_names_are_escaped(text):
    assert fake.HOSTILE not in text
    assert text.count("&lt;script&gt;") >= 3  # the device twice, a class
    assert "<script" not in text


def test_charts_and_tables_can_be_read_aloud(page):
    drawings = page.named("svg")
    assert len(drawings) == 3
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert drawing["aria-label"]
    assert page.tags[[t for t, _ in page.tags].index("svg") + 1][0] == "title"
    assert all(cell.get("scope") in ("col", "row") for cell in page.named("th"))
    assert page.named("html")[0]["lang"] == "en"


def test_the_same_run_gives_the_same_bytes(whole, text):
    with whole.stage("report"):  # as the pipeline does, which records how long it took
        assert write_report(whole).read_text(encoding="utf-8") == text
    assert write_report(open_run(whole.path)).read_text(encoding="utf-8") == text


def test_the_headline_is_the_latest_search(whole, page):
    result = SearchResult.load(whole.search_path / "budgets" / "0.06ms.json")
    assert result.winner is not None
    head = page.words[: page.words.index("Budgets")]
    assert "0.05120 ms measured, budget 0.06 ms: kept" in head
    for fact in (
        f"Chosen subnet {result.winner.architecture_id}",
        "Test accuracy, measured 91.23%",
        "Validation accuracy, measured 93.21%",
        "Latency, predicted 0.05000 ms",
        "Typical pass, measured 0.05222 ms",
        "Margin, measured 14.7% of the budget",
        result.winner.model_path,
    ):
        assert fact in head


def test_a_search_without_a_winner_shows_its_closest_miss(copied):
    missed = fake.search(copied, 0.03, found=False)
    assert missed.closest_miss is not None
    words = report_of(copied).words
    head = words[: words.index("Budgets")]
    assert "No measured subnet keeps the budget of 0.03 ms" in head
    assert f"Closest miss {missed.closest_miss.architecture_id}" in head
    assert "Typical pass exceeds it by 39.3%" in head  # 0.0512 * 0.8 * 1.02 / 0.03


def test_every_budget_stands_in_the_table_with_its_limits(page):
    table = page.words[page.words.index("Budgets") : page.words.index("Front")]
    assert re.search(r"0\.04 ms activation_bytes at most 123,456 bytes \w+ closest miss no", table)
    assert re.search(r"0\.06 ms activation_bytes at most 123,456 bytes \w+ yes 0\.05120", table)


def test_labels_tell_predicted_from_measured_with_units(page):
    for label in (
        "latency, predicted (ms)",
        "latency, measured (ms)",
        "validation cross-entropy, predicted (nats)",
        "validation cross-entropy, measured (nats)",
        "validation accuracy, measured (%)",
        "front (predicted)",
        "subnet (measured)",
        "chosen subnet",
        "closest miss",
        "budget",
        "smallest subnet (measured)",
        "largest subnet (measured)",
    ):
        assert label in page.words


def test_the_predicted_panel_holds_the_winner_that_is_not_on_the_front(whole):
    (search,) = [s for s in gather(whole).searches if s.result.winner]
    assert search.result.winner is not None
    assert search.winner_loss is not None
    assert search.winner_loss not in [m.predicted["loss"] for m in search.result.front]


def test_errors_stand_beside_baselines_floor_and_ceiling(page):
    for words in (
        "on n = 24 held-out subnets",
        "on n = 7 held-out subnets",
        "baseline: constant",
        "baseline: macs",
        "baseline: uncorrected layer sum",
        "disagrees with itself by 2.0%",
        "Ceiling: two halves",
    ):
        assert words in page.words
    assert "predictor file states" not in page.words


def test_settings_architectures_times_and_hashes(whole, page):
    facts = gather(whole)
    for words in (
        "Recipe: training strategy sandwich num_random 2",
        "max_macs \N{EN DASH}",
        f"{facts.file.num_samples['test']} test), trained by cross-entropy, judged by accuracy.",
        "seed 0 host",
        "stage1.block1.kernel",
        "activation_bytes",
        "in all",
        f"torch {facts.file.versions['torch']}",
        *facts.hashes.values(),
    ):
        assert words in page.words
    assert {"supernet", "profile", "accuracy_samples"} < set(facts.hashes)
    assert [c.roles for c in facts.chosen] == [
        ("closest miss of 0.04 ms",),
        ("chosen for 0.06 ms",),
    ]


def test_a_moved_run_shows_where_its_model_is_now(copied):
    words = report_of(copied).words
    assert str(copied.subnets_path) in words


def test_a_search_on_an_earlier_profile_is_told_and_not_drawn(copied):
    fake.profile(copied)
    copied.profile_path.write_text(
        copied.profile_path.read_text().replace('"drift": null', '"drift": 0.01')
    )
    page = report_of(copied)
    assert "was made from an earlier profile; it is left out of the charts" in page.words
    assert len(page.named("svg")) == 2
    assert "No front to show" in page.words


def test_a_predictor_that_cannot_be_fitted_again_keeps_its_stated_error(copied):
    copied.profile_path.unlink()
    words = report_of(copied).words
    assert "on n = 7 held-out subnets" in words
    assert "profile.json is gone" in words


@pytest.mark.parametrize(
    ("stages", "present", "absent", "charts"),
    [
        ((), "The supernet is not trained yet. ", "Predictions on the left", 0),
        ((lambda r: fake.train(r, 1),), "Trained for 1 of 6 epochs so far.", "Not drawn", 1),
        ((fake.train,), "Nothing was searched yet.", "Trained for", 1),
        ((fake.train, fake.profile), "The predictors are not fitted yet.", "No profile yet", 1),
        ((fake.train, fake.profile, fake.fit), "No architecture is chosen yet.", "Budgets", 2),
    ],
)
def test_what_is_missing_is_told_in_a_line(tmp_path, stages, present, absent, charts):
    run = fake.new_run(tmp_path / "run")
    for stage in stages:
        stage(run)
    page = report_of(run)
    assert present in page.words
    assert absent not in page.words
    assert len(page.named("svg")) == charts


def test_a_search_that_left_nothing_is_told(tmp_path):
    run = fake.new_run(tmp_path / "run")
    with pytest.raises(InputError), run.stage("search"):
        raise InputError("nothing reaches the budget")
    assert "A search was started and has left no result" in report_of(run).words


def test_a_damaged_file_is_named(copied):
    (copied.search_path / "budgets" / "0.06ms.json").write_text("{")
    with pytest.raises(InputError, match=r"0\.06ms\.json"):
        write_report(copied)


def test_a_failed_report_leaves_the_earlier_one(copied, monkeypatch):
    before = copied.report_path.read_bytes()
    names = sorted(path.name for path in copied.path.iterdir())

    def fails(*_: object) -> str:
        raise RuntimeError("no")

    monkeypatch.setattr(report, "render", fails)
    with pytest.raises(RuntimeError):
        write_report(copied)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "replace", fails)  # the last step of an atomic write
    with pytest.raises(RuntimeError):
        write_report(copied)
    assert copied.report_path.read_bytes() == before
    assert sorted(path.name for path in copied.path.iterdir()) == names


def test_a_style_of_the_user_does_not_change_the_charts(whole, text):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other", "text.color": "red"}):
        assert write_report(whole).read_text(encoding="utf-8") == text
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0491505, "0.04915 ms"), (2.0, "2.000 ms"), (1234.4, "1234 ms"), (None, formats.MISSING)],
)
def test_latencies_have_four_digits_and_a_unit(value, shown):
    assert formats.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.98607, "98.61%"), (1e9, "over 1000%"), (None, formats.MISSING)]
)
def test_shares_are_percent(share, shown):
    assert formats.percent(share) == shown


def test_a_long_list_of_classes_is_cut():
    assert formats.some(tuple("abcd"), limit=3) == "a, b, c and 1 more"
    assert formats.some(tuple("abc"), limit=3) == "a, b, c"


def test_memory_is_bytes():
    assert formats.cost(46080, "activation_bytes") == "46,080 bytes"
    assert formats.cost(765344, "macs") == "765,344"
    assert formats.cost(None, "macs") == formats.MISSING

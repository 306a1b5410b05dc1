import re
from zlib import crc32

import numpy as np
import pytest
import torch

from nas.config import DataConfig, check_recipe
from nas.data import Dataset, input_tensors, load_data
from nas.data.docstrings import LIBRARIES, docstrings
from nas.data.tokens import TOKENIZER, tokenize
from search_spaces import InputError


def load(source: str, seed: int = 0, classification: bool = True, **config) -> Dataset:
    data = DataConfig(source=source, **config)
    return load_data(data, seed, "tokens", classification=classification)


def some_ids(n: int = 60, length: int = 6, vocabulary: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(1, vocabulary, (n, length))


IDS, LABELS = some_ids(), np.arange(60) % 3


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return f"npz:{tmp_path / 'data.npz'}"

    return write


# --- words ----------------------------------------------------------------------------------------


def test_ids_are_what_the_tokenizer_says():
    """By hand, from the words of the description alone."""
    (row,) = tokenize(["Two WORDS, twice: two"], vocabulary=1000, length=10)
    words = ["two", "words", ",", "twice", ":", "two"]
    expected = [1, *(2 + crc32(word.encode()) % 998 for word in words), 0, 0, 0]
    assert row.tolist() == expected
    assert "crc32" in TOKENIZER
    assert r"\w+|[^\w\s]" in TOKENIZER


def test_long_texts_are_cut_and_empty_ones_still_start():
    rows = tokenize(["a b c d e f", ""], vocabulary=3, length=4)
    assert rows.tolist() == [[1, 2, 2, 2], [1, 0, 0, 0]]


# --- docstrings -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts():
    return docstrings()


def test_docstrings_are_balanced_prose_of_installed_libraries(texts):
    found, labels, names = texts
    assert set(names) <= set(LIBRARIES)
    assert len(names) >= 4
    counts = np.bincount(labels)
    assert (counts > 1000).all()
    assert (counts <= 1500).all()
    assert len(set(found)) == len(found) == len(labels)
    assert all(len(text.split()) >= 6 and ">>>" not in text[:3] for text in found)


def test_docstrings_become_masked_ids(texts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("nas.data.tokens.docstrings", lambda: texts)  # read once already
        data = load("docstrings", length=16, vocabulary=512)
    assert data.modality == "tokens"
    assert data.tokenizer == TOKENIZER
    assert data.settings == {"num_classes": data.num_classes, "vocabulary": 512, "length": 16}
    ids, mask = data.train.inputs
    assert (ids[:, 0] == 1).all()
    assert ids.max() < 512
    np.testing.assert_array_equal(mask, ids != 0)
    assert data.sha256() == load("docstrings", length=16, vocabulary=512).sha256()


# --- text files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t"), ("a.txt", ",")])
def test_tables_of_texts(tmp_path, name, mark):
    rows = [f'{"good" if i % 2 else "bad"}{mark}"word{i}, and{mark} more"' for i in range(20)]
    (tmp_path / name).write_text("\n".join([f"label{mark}text", *rows]), encoding="utf-8")
    data = load(f"text:{tmp_path / name}", length=8)
    assert data.class_names == ("bad", "good")
    wanted = {
        tuple(tokenize([f"word{i}, and{mark} more"], 4096, 8)[0].tolist()): i % 2 for i in range(20)
    }
    for split in (data.train, data.validation, data.test):
        for ids, label in zip(split.inputs[0].tolist(), split.targets, strict=True):
            assert wanted.pop(tuple(ids)) == label
    assert wanted == {}


def test_byte_order_marks_are_no_text(tmp_path):
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8-sig")
    assert load(f"text:{tmp_path / 'a.csv'}").class_names == ("a", "b")
    (tmp_path / "folder").mkdir()
    for name in "ab":
        lines = "\n".join(f"{name} {i}" for i in range(10))
        (tmp_path / "folder" / f"{name}.txt").write_text(lines, encoding="utf-8-sig")
    data = load(f"text:{tmp_path / 'folder'}", length=3, test_share=0.1, validation_share=0.1)
    firsts = np.concatenate(
        [one.inputs[0][:, 1] for one in (data.train, data.validation, data.test)]
    )
    assert set(firsts.tolist()) == set(tokenize(["a", "b"], 4096, 3)[:, 1].tolist())


def test_folders_of_texts(tmp_path):
    for name in ("ham", "spam"):
        lines = [f"{name} number {i}" for i in range(12)]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(lines), encoding="utf-8")
    data = load(f"text:{tmp_path}")
    assert data.class_names == ("ham", "spam")
    assert sum(data.num_samples.values()) == 24


def test_numbers_as_labels_where_the_task_takes_them(tmp_path):
    rows = [f"text {i},{i / 4}" for i in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    data = load(f"text:{tmp_path / 'a.csv'}", classification=False)
    assert (data.num_classes, data.class_names) == (1, ())
    assert data.train.targets.dtype == np.float32
    every = np.concatenate([s.targets for s in (data.train, data.validation, data.test)])
    assert sorted(every[:, 0].tolist()) == [i / 4 for i in range(20)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "columns text and label"),
        (b"a,b\n1,2\n", "columns text and label"),
        (b"text,label\n", "no texts"),
        (b"text,label\nhello\n", "row 2"),
        (b'text,label\n"open,1\n', "UTF-8, a CSV"),
        (b"text,label\n\xff\xfe,1\n", "UTF-8"),
        (b"text,label\n" + b"one,a\n" * 9, "at least 2 classes"),
        (b"text,label\none,a\ntwo,b\nthree,b\n", "class 'a' has 1 samples; expected 3 or more"),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        load(f"text:{tmp_path / 'a.csv'}")
    assert "\n" not in str(error.value)


def test_places_without_texts_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(f"text:{tmp_path / 'absent.csv'}")
    with pytest.raises(InputError, match="no texts"):
        load(f"text:{tmp_path}")
    (tmp_path / "a.csv").write_text("text,label\none,two\n" * 5)
    with pytest.raises(InputError, match="numbers in column label"):
        load(f"text:{tmp_path / 'a.csv'}", classification=False)


# --- ids of the user's own ------------------------------------------------------------------------


def test_ids_without_a_mask_are_masked_by_what_is_not_0(npz):
    ids = IDS.copy()
    ids[:, 4:] = 0
    data = load(npz(ids=ids, y=LABELS), vocabulary=50)
    assert data.tokenizer is None
    assert data.settings == {"num_classes": 3, "vocabulary": 50, "length": 6}
    found, mask = input_tensors(data, data.train)
    assert (found.dtype, mask.dtype) == (torch.int64, torch.int64)
    assert torch.equal(mask, (found != 0).long())


@pytest.mark.parametrize("kind", [np.bool_, np.int64, np.float32])
def test_masks_stay_with_their_ids(npz, kind):
    mask = (np.arange(6) < 1 + np.arange(60)[:, None] % 6).astype(kind)
    ids = np.repeat(1 + np.arange(60)[:, None], 6, axis=1)
    data = load(npz(ids=ids, mask=mask, y=LABELS), vocabulary=61)
    for split in (data.train, data.validation, data.test):
        rows = split.inputs[0][:, 0] - 1
        np.testing.assert_array_equal(split.inputs[1], mask[rows])
        np.testing.assert_array_equal(split.targets, LABELS[rows])


MASK = np.ones((60, 6), np.int64)
NO_TOKEN = np.where(np.arange(60)[:, None] == 7, 0, MASK)
BAD = {
    "negative ids": ({"ids": IDS - 2, "y": LABELS}, "count from 0"),
    "ids beyond the vocabulary": ({"ids": IDS + 20, "y": LABELS}, "data.vocabulary"),
    "fractions as ids": ({"ids": IDS / 2, "y": LABELS}, "whole numbers n x length"),
    "ids of one dimension": ({"ids": IDS[:, 0], "y": LABELS}, "n x length"),
    "no ids": ({"ids": IDS[:0], "y": LABELS[:0]}, "n x length"),
    "a shorter mask": ({"ids": IDS, "mask": MASK[:, :5], "y": LABELS}, "(60, 6), got (60, 5)"),
    "a mask of fewer texts": ({"ids": IDS, "mask": MASK[:50], "y": LABELS}, "got (50, 6)"),
    "a mask of 2": ({"ids": IDS, "mask": MASK * 2, "y": LABELS}, "0 and 1, got 2"),
    "a mask of halves": ({"ids": IDS, "mask": MASK / 2, "y": LABELS}, "0 and 1, got 0.5"),
    "a mask of NaN": ({"ids": IDS, "mask": MASK * np.nan, "y": LABELS}, "0 and 1, got nan"),
    "a mask of words": ({"ids": IDS, "mask": MASK.astype(str), "y": LABELS}, "0 and 1"),
    "padding first": (
        {"ids": IDS, "mask": MASK * (np.arange(6) > 0), "y": LABELS},
        "text 0 begins with padding; pad at the end",
    ),
    "a text without tokens": ({"ids": IDS, "mask": NO_TOKEN, "y": LABELS}, "text 7 has no token"),
    "fewer labels": ({"ids": IDS, "y": LABELS[:50]}, "60 texts"),
    "fractions as labels": ({"ids": IDS, "y": LABELS / 2}, "task.loss"),
    "no ids array": ({"x": IDS, "y": LABELS}, "ids and mask and y"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_ids_are_refused_in_one_line(npz, case):
    arrays, words = BAD[case]
    with pytest.raises(InputError, match=re.escape(words)) as error:
        load(npz(**arrays), vocabulary=50)
    assert "data.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_functions_return_arrays_or_splits():
    globals()["returned"] = lambda: {
        "train": (IDS[:40], MASK[:40], LABELS[:40]),
        "test": (IDS[40:], LABELS[40:]),
    }
    data = load(f"python:{__name__}:returned", vocabulary=50)
    np.testing.assert_array_equal(data.test.inputs[0], IDS[40:])
    assert len(data.train) + len(data.validation) == 40


# --- of another modality --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "source", "words"),
    [
        ("image", "docstrings", "mine takes images; docstrings gives tokens"),
        ("sequence", "text:a.csv", "mine takes sequences; text gives tokens"),
        ("tokens", "digits", "mine takes tokens; digits gives images or sequences"),
        ("tokens", "docstring", "did you mean 'docstrings'"),
    ],
)
def test_sources_of_another_modality_are_refused(modality, source, words):
    with pytest.raises(InputError, match=words):
        load_data(DataConfig(source=source), 0, modality, space="mine")


def test_vocabularies_end_at_a_million():
    """An embedding of 2**31 rows is no network but an end of memory."""
    assert DataConfig(vocabulary=1_000_000).vocabulary == 1_000_000
    with pytest.raises(InputError, match=r"data\.vocabulary"):
        check_recipe({"data": {"vocabulary": 1_000_001}})

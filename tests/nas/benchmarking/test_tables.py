import csv
import gzip
import json

import numpy as np
import pytest

from nas.benchmarking.tables import read_table
from search_spaces import InputError, build_space
from search_spaces.nasbench201 import cell_text


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


@pytest.fixture(scope="module")
def cells(space):
    return space.sample_distinct(30, np.random.default_rng(0))


def csv_text(space, cells, **columns):
    names = ["arch", *columns]
    rows = [
        [cell_text(space.decode(cell)), *(str(values[i]) for values in columns.values())]
        for i, cell in enumerate(cells)
    ]
    return "\n".join(",".join(row) for row in [names, *rows]) + "\n"


@pytest.fixture
def write(tmp_path, space, cells):
    def write_columns(name="table.csv", **columns):
        path = tmp_path / name
        text = csv_text(space, cells, **columns)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return path

    return write_columns


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_rows_are_read_in_order(space, cells, write, name):
    latency = np.arange(30) + 0.5
    table = read_table(
        write(name, isomorphism_class=[7] * 15 + [3] * 15, latency_ms_a=latency), space
    )
    np.testing.assert_array_equal(table.population, cells)
    np.testing.assert_array_equal(table.latency("a"), latency)
    assert table.targets == ("a",)
    assert len(set(table.classes[:15])) == len(set(table.classes[15:])) == 1
    assert table.class_representatives.tolist() == [0, 15]


def test_without_a_class_column_equal_networks_are_a_class(space, write, cells):
    table = read_table(write(latency_ms_a=[1.0] * 30), space)
    keys = space.equivalence_key(cells)[:, 0]
    same = keys[:, None] == keys[None]
    np.testing.assert_array_equal(table.classes[:, None] == table.classes[None], same)


def test_rows_are_found_again(space, write, cells):
    table = read_table(write(latency_ms_a=[1.0] * 30), space)
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(table.rows_of(cells[order]), order)
    assert len(table.rows_of(cells[:0])) == 0
    others = space.sample(200, np.random.default_rng(2))
    with pytest.raises(InputError, match="does not hold all"):
        table.rows_of(others)


@pytest.mark.parametrize("value", ["-1.0", "0", "nan", "inf", "", "fast"])
def test_latencies_that_cannot_be_are_refused_with_their_row(space, write, value):
    latency = ["1.5"] * 30
    latency[4] = value
    table = read_table(write(latency_ms_a=latency), space)
    with pytest.raises(InputError, match=r"row 6, latency_ms_a: expected a .*, got"):
        table.latency("a")


def test_numbers_that_are_none_are_refused(space, write):
    table = read_table(write(latency_ms_a=[1.0] * 30, accuracy=["93.1"] * 29 + ["good"]), space)
    with pytest.raises(InputError, match=r"row 31, accuracy: expected a number, got 'good'"):
        table.numbers("accuracy")
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        table.numbers("acuracy")


def test_unknown_targets_name_the_nearest(space, write):
    table = read_table(write(latency_ms_pixel3=[1.0] * 30), space)
    with pytest.raises(InputError, match="did you mean 'pixel3'"):
        table.latency("pixel")


def test_a_table_without_architectures_is_refused(space, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("cell,latency_ms_a\nx,1\n")
    with pytest.raises(InputError, match=r"expected a column 'arch', got cell, latency_ms_a"):
        read_table(path, space)


@pytest.mark.parametrize("text", ["", "arch,latency_ms_a\n"])
def test_an_empty_table_is_refused(space, tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        read_table(path, space)


def test_text_of_another_space_is_refused(space, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("arch,latency_ms_a\n00112233,1\n")
    with pytest.raises(InputError, match=r"'00112233' is not an architecture.*--space"):
        read_table(path, space)


def test_a_row_of_another_length_is_refused(space, write):
    path = write(latency_ms_a=[1.0] * 30)
    lines = path.read_text().splitlines()
    lines[4] = lines[4].removesuffix(",1.0")
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"row 5: expected 2 values, got 1"):
        read_table(path, space)


def test_an_architecture_with_two_latencies_is_refused(space, write):
    path = write(latency_ms_a=[1.0] * 30)
    again = path.read_text().splitlines()[1].replace(",1.0", ",2.0")
    path.write_text(path.read_text() + again + "\n")
    with pytest.raises(InputError, match="rows 2 and 32 are the same architecture"):
        read_table(path, space)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_refused(space, write, kept):
    path = write("table.csv.gz", latency_ms_a=np.random.default_rng(0).uniform(1, 2, 30))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match="truncated"):
        read_table(path, space)


@pytest.mark.parametrize("place", range(20, 120, 10))
def test_a_damaged_file_is_refused(space, write, place):
    path = write("table.csv.gz", latency_ms_a=np.random.default_rng(0).uniform(1, 2, 30))
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="truncated or not a CSV file"):
        read_table(path, space)


def test_a_file_that_is_not_gzip_is_refused(space, tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_text("arch,latency_ms_a\n")
    with pytest.raises(InputError, match="not a CSV file"):
        read_table(path, space)


def test_once_for_all_subnets_are_read(tables):
    space = build_space("mobilenet-v3")
    path = tables / "ofa_mobilenet_v3_latency.csv.gz"
    table = read_table(path, space)
    assert table.population.shape == (5000, space.num_dimensions)
    assert table.targets[:2] == ("2080ti_1", "2080ti_32")
    resolution = np.array(space.dimensions[0].options)[table.population[:, 0]]
    slow = table.latency("titan_xp_64")
    assert np.corrcoef(resolution, slow)[0, 1] > 0.5


def test_architecture_in_another_text_form_counts_once(tmp_path):
    space = build_space("mobilenet-v3")
    blocks = {"ks": [3] * 20, "e": [4] * 20, "d": [2] * 5, "r": 224}
    beyond = blocks | {"ks": [3, 3, 5, 7] * 5}  # of blocks that a depth of two has not

    def write(*values):
        path = tmp_path / "repeated.csv"
        with path.open("w", newline="") as file:
            rows = zip((blocks, beyond), values, strict=True)
            csv.writer(file).writerows([["arch", "acc"], *[[json.dumps(a), v] for a, v in rows]])
        return path

    table = read_table(write("75", "75.02"), space)
    assert table.population.shape[0] == 1
    assert table.columns["acc"] == ("75",)
    with pytest.raises(InputError, match=r"rows 2 and 3 are the same architecture.*75 and 77"):
        read_table(write("75", "77"), space)

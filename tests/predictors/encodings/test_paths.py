import numpy as np
import pytest

from predictors.encodings import ENCODINGS
from search_spaces import InputError, build_space
from search_spaces.part import SpacePart


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


def encoded(space, *texts):
    return ENCODINGS["paths"](space)(space.encode_all(space.parse(text) for text in texts))


def test_paths_of_a_cell_counted_by_hand(space):
    # 0-1 skip, 1-2 conv, 0-3 conv, 2-3 skip; 0-2, 1-3 cut: "conv" twice, nothing else
    row = encoded(
        space, "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
    )[0]
    assert sorted(row)[-2:] == [0.0, 2.0]
    longest = encoded(space, "|avg_pool_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|none~2|")
    assert not longest.any()  # a cut before the output ends every path


def test_columns_are_all_sequences_of_up_to_three_operations(space):
    population = space.sample(5, np.random.default_rng(0))
    assert ENCODINGS["paths"](space)(population).shape == (5, 1 + 3 + 9 + 27)


def test_order_of_operations_on_a_path_matters(space):
    first, second = encoded(
        space,
        "|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|",
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|",
    )
    assert first.sum() == second.sum() == 1
    assert (first != second).any()


def test_equal_networks_have_equal_rows(space):
    population = space.all_architectures()
    rows = ENCODINGS["paths"](space)(population)
    keys = space.equivalence_key(population)[:, 0]
    order = np.argsort(keys, kind="stable")
    same = np.diff(keys[order]) == 0
    assert (np.diff(rows[order], axis=0)[same] == 0).all()
    assert len(np.unique(rows, axis=0)) > 4000  # of 4,930 networks


@pytest.mark.parametrize("name", ["nasnet-digits", "nasnet-darts"])
def test_sources_that_are_chosen(name):
    space = build_space(name)
    population = space.sample(50, np.random.default_rng(0))
    rows = ENCODINGS["paths"](space)(population)
    assert rows.shape[1] < 1000
    num_nodes = len(space.cells[0].outputs)
    # every node adds up two sides, so the paths to it are those of its two sources
    names = [dimension.name for dimension in space.dimensions]
    for i, genome in enumerate(population):
        paths = 0
        for cell in ("normal", "reduce"):
            arriving = [1, 1]
            for node in range(1, num_nodes + 1):
                ends = [genome[names.index(f"{cell}.node{node}.source{s}")] for s in (1, 2)]
                arriving.append(sum(arriving[end] for end in ends))
            paths += sum(arriving[2:])
        assert rows[i].sum() == paths


def test_part_of_a_space_keeps_its_cells(space):
    options = {"node1~0": ["none", "nor_conv_3x3"], "node3~2": ["nor_conv_1x1"]}
    part = SpacePart(space, options)
    population = part.space.sample(40, np.random.default_rng(0))
    np.testing.assert_array_equal(
        ENCODINGS["paths"](part.space)(population).sum(axis=1),
        ENCODINGS["paths"](space)(part.embed(population)).sum(axis=1),
    )


def test_space_without_cells_is_refused():
    with pytest.raises(InputError, match="mobilenet-digits@1 has no cells"):
        ENCODINGS["paths"](build_space("mobilenet-digits"))

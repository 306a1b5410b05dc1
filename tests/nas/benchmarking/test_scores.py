import numpy as np
import pytest
from scipy.stats import norm

from nas.benchmarking.scores import read_scores
from search_spaces import InputError, build_space

DEAD = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
DEAD_TOO = "|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"  # the same network
SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
POOL = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|"


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


def population(space, *texts):
    return space.encode_all(space.parse(text) for text in texts)


def table(folder, *rows, header="arch,small,large"):
    path = folder / "scores.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_ranks_on_a_normal_scale_whatever_the_size_of_scores(space, tmp_path):
    rows = (f"{DEAD},1,-1e8", f"{SKIP},2,5", f"{POOL},3,1e12")
    scores = read_scores(table(tmp_path, *rows), space)
    assert scores.names == ("small", "large")
    thirds = norm.ppf([1 / 6, 3 / 6, 5 / 6])
    encoded = scores(population(space, POOL, DEAD, SKIP, DEAD))
    np.testing.assert_allclose(encoded, thirds[[2, 0, 1, 0]][:, None].repeat(2, axis=1), atol=1e-12)


def test_equal_networks_share_their_mean_rank(space, tmp_path):
    rows = (f"{DEAD},1,3", f"{DEAD_TOO},4,4", f"{SKIP},2,1", f"{POOL},3,2")
    scores = read_scores(table(tmp_path, *rows), space)
    encoded = scores(population(space, DEAD, DEAD_TOO, SKIP, POOL))
    low, middle, high = norm.ppf([1 / 6, 3 / 6, 5 / 6])  # mean ranks: 2.5, 2, 3 and 3.5, 1, 2
    expected = [[middle, high], [middle, high], [low, low], [high, middle]]
    np.testing.assert_allclose(encoded, expected, atol=1e-12)


def test_equal_network_covers_what_was_not_scored(space, tmp_path):
    scores = read_scores(table(tmp_path, f"{DEAD},1,2", f"{SKIP},2,1"), space)
    asked = population(space, DEAD_TOO, POOL, SKIP)
    assert scores.covers(asked).tolist() == [True, False, True]
    with pytest.raises(InputError, match="2 of 3 architectures"):
        scores(asked)
    assert scores(asked[[0, 2]]).shape == (2, 2)
    assert scores(asked[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("arch", DEAD, "a column of scores"),
        ("arch,score", f"{DEAD},nan", "row 2, score: expected a number, got nan"),
        ("arch,score", f"{DEAD},high", "expected a number, got 'high'"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(space, tmp_path, header, row, words):
    with pytest.raises(InputError, match=words):
        read_scores(table(tmp_path, row, header=header), space)

import numpy as np

from predictors.encodings import ENCODINGS
from search_spaces import Dimension, SearchSpace, build_space

SPACE = SearchSpace(
    "stages@1",
    [
        Dimension("resolution", (8, 16)),
        Dimension("stage1.depth", (1, 2)),
        Dimension("stage1.block1.kernel", (3, 5)),
        Dimension("stage1.block2.kernel", (3, 5), ("stage1.depth", frozenset({1}))),
        Dimension("stage2.depth", (1, 2)),
        Dimension("stage2.block1.kernel", (3, 5)),
        Dimension("layer1", ("conv", "pool")),
        Dimension("layer2", ("conv", "pool")),
    ],
)


def test_counts_by_hand():
    population = np.array([[1, 1, 1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0, 1, 1]], dtype=np.int16)
    # resolution, depth and kernels of stage 1, then of stage 2, then layers that are conv and pool
    expected = [[16, 2, 5 + 3, 1, 5, 1, 1], [8, 1, 5, 2, 3, 0, 2]]
    np.testing.assert_array_equal(ENCODINGS["stage-counts"](SPACE)(population), expected)


def test_where_in_the_stage_an_option_is_does_not_matter():
    space = build_space("mobilenet-v3")
    names = [dimension.name for dimension in space.dimensions]
    first = space.largest()
    second = first.copy()
    first[0, names.index("stage3.block1.kernel")] = 0
    second[0, names.index("stage3.block4.kernel")] = 0
    encode = ENCODINGS["stage-counts"](space)
    np.testing.assert_array_equal(encode(first), encode(second))
    assert encode(first).shape == (1, 2 + 5 * 3)  # resolution, width; depth, two sums a stage

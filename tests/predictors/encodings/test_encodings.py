import numpy as np
import pytest

from predictors.encodings import ENCODINGS, fitting_encodings
from search_spaces import SPACES, Dimension, InputError, SearchSpace, build_space


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_encodings_that_fit(name):
    space = build_space(name)
    population = space.sample(30, np.random.default_rng(0))
    names = fitting_encodings(space)
    assert {"one-hot", "costs"} < set(names)
    for encoding in names:
        encode = ENCODINGS[encoding](space)
        rows = encode(population)
        assert rows.shape == (30, encode(population[:0]).shape[1])
        assert rows.dtype == np.float64
        assert np.isfinite(rows).all()
        np.testing.assert_array_equal(encode(population[7:9]), rows[7:9])


def test_costs_are_logarithms_of_the_spaces_own():
    space = build_space("mobilenet-digits")
    population = space.sample(20, np.random.default_rng(0))
    costs = space.layers.costs(population)
    expected = np.log([costs.macs, costs.num_params, costs.activation_bytes]).T
    np.testing.assert_allclose(ENCODINGS["costs"](space)(population), expected)


def test_space_without_layers_has_no_costs():
    space = SearchSpace("table@1", [Dimension("choice", (1, 2))])
    assert fitting_encodings(space) == ("one-hot", "stage-counts")
    with pytest.raises(InputError, match="has no layers"):
        ENCODINGS["costs"](space)

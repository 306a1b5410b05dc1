import numpy as np
import pytest

from nas.training.regularisation import dropout_share
from search_spaces import build_space
from search_spaces.supernet import Supernet


def test_shares_are_those_of_parameters():
    space = build_space("mobilenet-digits")
    population = np.concatenate([space.largest(), space.sample(3, np.random.default_rng(0))])
    supernet = Supernet(space)
    sizes = [
        sum(parameter.numel() for parameter in supernet.extract(space.decode(genome)).parameters())
        for genome in population
    ]
    shares = dropout_share(space, population)
    assert shares == pytest.approx(np.array(sizes) / sizes[0])
    assert shares[0] == 1
    assert (shares[1:] < 1).all()


def test_no_architectures_have_no_shares():
    space = build_space("mobilenet-digits")
    assert dropout_share(space, space.smallest()[:0]).shape == (0,)

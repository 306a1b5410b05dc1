import numpy as np
import pytest
import torch

from nas.config import OPTIONS
from nas.training.regularisation import dropout_share
from search_spaces import build_space
from search_spaces.supernet import Supernet
from tests.nas.training.small_training import CONFIG
from tests.nas.training.small_training import SmallTraining as Training

LEAST = CONFIG.replaced(
    num_random=None, strategy="single-path", epochs=4, batch_size=64, evaluate_every=4
)
SHARES = {"full_share": 0.25, "ramp_share": 0.25, "num_random": 1}


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


# --- a whole training -----------------------------------------------------------------------------


def spied(folder, space, bars, config, monkeypatch) -> tuple[list, Training]:
    """Train, and return for every pass with gradients its place, its architecture and what was
    dropped; those without gradients, of teachers, drop nothing.
    """
    training = Training(folder, space, bars, config)
    trainer, forward, passes = training.trainer(), Supernet.forward, []

    def spy(self, inputs, architecture, regularisation=None):
        if torch.is_grad_enabled():
            place = trainer.next_epoch, trainer.next_step
            passes.append((place, architecture, regularisation))
        else:
            assert regularisation is None
        return forward(self, inputs, architecture, regularisation)

    with monkeypatch.context() as patch:
        patch.setattr(Supernet, "forward", spy)
        trainer.train()
    return passes, training


@pytest.mark.parametrize("strategy", OPTIONS["strategy"])
def test_dropout_and_drop_path_act_in_every_part_of_a_training(
    tmp_path, space, bars, monkeypatch, strategy
):
    """Every step of every strategy has a subnet whose features are dropped, in all phases."""
    options = {name: SHARES[name] for name in OPTIONS["strategy"][strategy] if name in SHARES}
    if strategy == "sorted":
        options = {"num_random": 8}  # all of the chain: the largest is among them
    plain = LEAST.replaced(strategy=strategy, **options)
    config = plain.replaced(dropout=0.3, drop_path=0.2)
    passes, training = spied(tmp_path / "dropped", space, bars, config, monkeypatch)
    places = [(epoch, step) for epoch in range(4) for step in range(2)]
    assert sorted({place for place, _, _ in passes}) == places
    for place in places:
        dropped = [found for at, _, found in passes if at == place and found is not None]
        assert dropped, f"nothing is dropped at {place}"
        assert all(one.dropout == 0.3 for one in dropped)
        share = (place[0] + place[1] / 2) / 4
        assert all(one.drop_path == pytest.approx(0.2 * share) for one in dropped)
    without = Training(tmp_path / "plain", space, bars, plain)
    without.go_on()
    left, right = training.tensors(), without.tensors()
    assert any(not torch.equal(left[name], right[name]) for name in right)


def test_only_the_largest_of_a_sandwich_drops_and_adaptively_all_do(
    tmp_path, space, bars, monkeypatch
):
    largest = space.decode(space.largest()[0])
    config = LEAST.replaced(strategy="sandwich", num_random=1, epochs=1, dropout=0.3)
    passes, _ = spied(tmp_path / "plain", space, bars, config, monkeypatch)
    assert {found is not None for _, one, found in passes if one == largest} == {True}
    assert {found is not None for _, one, found in passes if one != largest} == {False}
    adaptive = config.replaced(adaptive_dropout=True)
    passes, _ = spied(tmp_path / "adaptive", space, bars, adaptive, monkeypatch)
    for _, architecture, found in passes:
        share = dropout_share(space, space.encode(architecture))[0]
        assert found.dropout == pytest.approx(0.3 * share)

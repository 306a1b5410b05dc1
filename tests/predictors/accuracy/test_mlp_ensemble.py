import numpy as np
import pytest
import torch

from predictors.accuracy import mlp_ensemble
from predictors.accuracy.mlp_ensemble import HIDDEN, MEMBERS, MlpEnsembleAccuracy
from search_spaces import build_space


def test_tables_compute_what_the_networks_do(monkeypatch):
    """Inference gathers rows of combined options and costs; training never builds those tables."""
    made = []

    class Recorded(mlp_ensemble._Networks):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(mlp_ensemble, "_Networks", Recorded)
    monkeypatch.setattr(mlp_ensemble, "STEPS", 20)
    rng = np.random.default_rng(0)
    space = build_space("mobilenet-v3")
    genome = space.sample(40, rng).astype(np.float64)
    blocks = {"genome": genome, "costs": rng.normal(size=(40, 3))}
    ensemble = mlp_ensemble._fit(blocks, rng.normal(size=40), 0, space.num_options.tolist())
    with torch.no_grad():
        expected = made[0](
            torch.from_numpy(genome.astype(np.int64)), torch.from_numpy(blocks["costs"]).float()
        ).numpy()
    mean, std = ensemble.predict(blocks)
    np.testing.assert_allclose(mean, expected.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert (std >= ensemble.error).all()
    assert len(ensemble.tables) < space.num_dimensions / 2
    assert max(len(table) for table in ensemble.tables) <= mlp_ensemble.MOST_COMBINED


def test_every_member_leaves_a_share_out():
    wanted = torch.tensor([1.0, 2.0, 3.0, 4.0])
    guesses = wanted[:, None].repeat(1, MEMBERS)
    learns = torch.ones(4, MEMBERS)
    exact = mlp_ensemble._loss(guesses, wanted, learns)
    guesses[0, 1] = 100.0
    learns[0, 1] = 0.0  # so what it says of the first does not count
    assert mlp_ensemble._loss(guesses, wanted, learns) == pytest.approx(float(exact), rel=0.1)
    learns[0, 1] = 1.0
    assert mlp_ensemble._loss(guesses, wanted, learns) > 10 * exact


def test_wrong_order_costs_more_than_the_same_error_in_the_right_order():
    wanted = torch.tensor([0.0, 1.0])
    learns = torch.ones(2, MEMBERS)

    def loss(*guesses):
        return mlp_ensemble._loss(torch.tensor(guesses)[:, None].repeat(1, MEMBERS), wanted, learns)

    assert loss(0.6, 0.4) > loss(-0.6, 1.6)


def test_units_belong_to_members(monkeypatch):
    monkeypatch.setattr(mlp_ensemble, "STEPS", 5)
    space = build_space("mobilenet-digits")
    predictor = MlpEnsembleAccuracy(space)
    population = space.sample_distinct(20, np.random.default_rng(0))
    predictor.fit(population, np.arange(20.0))
    assert predictor.encodings == ("genome", "costs")
    output = predictor._known().model.output
    assert ((output != 0).sum(axis=0) == HIDDEN).all()
    assert ((output != 0).sum(axis=1) == 1).all()

"""What holds of every proxy, on networks of every family."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from predictors.zero_cost import (
    WORST,
    ZERO_COST,
    Batch,
    Probe,
    fresh_network,
    proxy_score,
    proxy_scores,
)
from search_spaces import InputError
from tests.contracts.cached_spaces import cached_space
from tests.contracts.inputs import random_inputs

FAMILIES = (
    "mobilenet-digits",
    "resnet-digits",
    "vit-digits",
    "bert-mini",
    "tdnn-digits",
    "nasnet-digits",
    "nasbench201-digits",
)
SAMPLES = 4


def a_network(name: str, genome=None, seed: int = 0):
    """A network with first weights, and a random batch of what it takes."""
    space = cached_space(name)
    if genome is None:
        genome = space.sample_levels(1, np.random.default_rng(5))
    module = fresh_network(space, space.decode(genome[0]), seed)
    specs = space.layers.network(genome).inputs
    inputs = random_inputs(specs, SAMPLES, 1, space.settings.get("vocabulary", 0))
    targets = torch.arange(SAMPLES) % space.settings["num_classes"]
    return module, Batch(inputs, targets), space.layers.costs(genome).row(0)


def everything_of(module: nn.Module) -> list[object]:
    """What must be as before: weights and buffers, gradients, flags, modes and hooks."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    grads = [None if p.grad is None else p.grad.tolist() for p in module.parameters()]
    flags = [p.requires_grad for p in module.parameters()]
    modes = [(m.training, getattr(m, "inplace", None)) for m in module.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
    return [{key: t.tolist() for key, t in tensors.items()}, grads, flags, modes, hooks]


@pytest.mark.parametrize("name", FAMILIES)
def test_proxies_are_finite_repeatable_and_change_nothing(name):
    module, batch, costs = a_network(name)
    module.eval()
    first = next(module.parameters())
    first.grad = torch.ones_like(first)
    first.requires_grad_(False)
    before, state = everything_of(module), torch.get_rng_state()
    scores = proxy_scores(module, batch)
    assert list(scores) == list(ZERO_COST)
    assert all(np.isfinite(score) and score > WORST for score in scores.values()), scores
    assert scores["parameters"] == costs["num_params"]
    assert scores["macs"] == costs["macs"]
    assert everything_of(module) == before
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    backwards = proxy_scores(module, batch, reversed(ZERO_COST))
    assert {key: backwards[key] for key in scores} == scores


def test_proxies_look_at_the_weights_that_are_given():
    module, batch, _ = a_network("resnet-digits")
    other, _, _ = a_network("resnet-digits", seed=1)
    names = ["snip", "synflow", "zen"]
    first, second = proxy_scores(module, batch, names), proxy_scores(other, batch, names)
    assert first["snip"] != second["snip"]
    assert first["synflow"] != second["synflow"]
    assert first["zen"] == second["zen"]  # which draws weights of its own
    assert proxy_scores(module, batch, ["zen"], seed=1) != {"zen": first["zen"]}


def test_a_disconnected_cell_is_worse_than_any_other():
    space = cached_space("nasbench201-digits")
    dead = space.encode(space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
    module, batch, _ = a_network("nasbench201-digits", dead)
    found = proxy_scores(module, batch)
    nothing = {name for name, score in found.items() if score == WORST}
    assert nothing == {"grasp", "synflow", "jacobian-covariance", "zen", "zico"}
    assert [found[name] for name in ("gradient-norm", "snip", "fisher")] == [0, 0, 0]
    text = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"  # a dead end too
    partly = space.encode(space.parse(text))
    module, batch, _ = a_network("nasbench201-digits", partly)
    alive = proxy_scores(module, batch)
    assert all(alive[name] > found[name] for name in found if name not in ("parameters", "macs"))


class WithDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.last = nn.Linear(8, 2)

    def forward(self, inputs):
        return self.last(self.layers(inputs)), inputs


def first_output(outputs, targets):
    return F.cross_entropy(outputs[0], targets)


def small_batch(size: int = SAMPLES) -> Batch:
    inputs = torch.randn(size, 3, generator=torch.Generator().manual_seed(1))
    return Batch((inputs,), torch.arange(size) % 2, first_output)


def test_dropout_and_several_outputs_are_taken():
    module = WithDropout()
    scores = proxy_scores(module, small_batch())
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert proxy_scores(module, small_batch()) == scores
    assert torch.equal(torch.get_rng_state(), state)
    probe = Probe(module, small_batch())
    assert {name: proxy_score(probe, name) for name in reversed(ZERO_COST)} == scores


def test_gradients_that_are_switched_off_around_it_are_none_of_its_business():
    module = WithDropout()
    expected = proxy_scores(module, small_batch())
    with torch.no_grad():
        assert proxy_scores(module, small_batch()) == expected
        assert not torch.is_grad_enabled()


class OneHot(nn.Module):
    """Reads token ids without an embedding."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, ids):
        return self.layers(F.one_hot(ids, 5).to(self.layers[0].weight).mean(1))


@pytest.mark.parametrize("name", ["synflow", "jacobian-covariance", "zen"])
def test_ids_without_an_embedding_are_refused_where_nothing_can_stand_in(name):
    batch = Batch((torch.arange(20).reshape(4, 5) % 5,), torch.arange(4) % 2)
    with pytest.raises(InputError, match=r"nn\.Embedding.*int64"):
        proxy_scores(OneHot(), batch, [name])
    assert proxy_scores(OneHot(), batch, ["snip"])["snip"] > 0


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="nonlinearities"):
        proxy_scores(nn.Linear(3, 2), small_batch(), ["naswot"])
    with pytest.raises(InputError, match="convolutions or linear layers"):
        proxy_scores(nn.Sequential(nn.ReLU()), small_batch(), ["snip"])
    with pytest.raises(InputError, match=r"4 or more samples.*got 3"):
        Probe(WithDropout(), small_batch(3))
    with pytest.raises(InputError, match="did you mean 'synflow'"):
        proxy_scores(WithDropout(), small_batch(), ["sinflow"])


def test_first_weights_follow_the_seed_alone():
    space = cached_space("resnet-digits")
    largest = space.decode(space.largest()[0])
    first = fresh_network(space, largest, 3)
    torch.rand(5)
    state = torch.get_rng_state()
    again = fresh_network(space, largest, 3)
    assert torch.equal(torch.get_rng_state(), state)
    other = fresh_network(space, largest, 4)
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    weights = [
        next(part.weight for part in network.modules() if isinstance(part, nn.Conv2d))
        for network in (first, other)
    ]
    assert not torch.equal(*weights)
    spread = weights[0].std() * (weights[0][:, 0].numel() / 2) ** 0.5  # He by fan-out
    assert 0.7 < spread < 1.3

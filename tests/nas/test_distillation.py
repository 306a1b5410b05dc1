"""Distillation losses against formulas of float64, and where numbers are extreme."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import entr, log_softmax, rel_entr, softmax

from nas.config import DISTILLATION_NAMES, TrainingConfig
from nas.distillation import DISTILLATIONS, alpha_divergence

CLIP = 5.0  # of AlphaNet's importance weights
every = pytest.mark.parametrize("name", DISTILLATIONS)


def logits(*shape: int, seed: int, spread: float = 2.0) -> torch.Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pearson(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The divergence of alpha -1: half of Pearson's chi-squared of q from p, its ratios clipped."""
    return ((q * np.minimum(q / p, CLIP)).sum(axis=1) - 1) / 2


FORMULAS = {
    "kl": lambda p, q: rel_entr(p, q).sum(axis=1) + entr(p).sum(axis=1),
    "alpha-divergence": lambda p, q: np.maximum(pearson(p, q), rel_entr(p, q).sum(axis=1)),
    "balanced": lambda p, q: (rel_entr(p, q) + rel_entr(q, p)).sum(axis=1) / 2,
}
# What descends on z, by sample: derived by hand from softmax, dlog q_j / dz_i = (i == j) - q_i.
GRADIENTS = {
    "kl": lambda p, q: q - p,
    "alpha-divergence": lambda p, q: np.where(
        (pearson(p, q) > rel_entr(p, q).sum(axis=1))[:, None],
        q * (np.minimum(q / p, CLIP) - (q * np.minimum(q / p, CLIP)).sum(axis=1, keepdims=True)),
        q - p,
    ),
    "balanced": lambda p, q: (
        ((q - p) + q * (np.log(q / p) - rel_entr(q, p).sum(axis=1, keepdims=True))) / 2
    ),
}


def probabilities(*both: torch.Tensor) -> list[np.ndarray]:
    return [softmax(one.detach().double().numpy(), axis=1) for one in both]


# --- values and gradients -------------------------------------------------------------------------


def test_the_names_of_recipes_are_those_that_there_are():
    assert tuple(DISTILLATIONS) == DISTILLATION_NAMES
    assert TrainingConfig().distillation == "kl"


@every
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_those_of_the_formulas(name, seed):
    outputs, teacher = (
        logits(64, 7, seed=seed).requires_grad_(),
        logits(64, 7, seed=10 + seed, spread=1),
    )
    loss = DISTILLATIONS[name](outputs, teacher)
    p, q = probabilities(teacher, outputs)
    assert float(loss.detach()) == pytest.approx(FORMULAS[name](p, q).mean(), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(outputs.grad, GRADIENTS[name](p, q) / 64, rtol=2e-3, atol=2e-6)


def test_the_samples_above_have_all_cases_of_the_alpha_divergence():
    """Either alpha is the larger, with clipped weights and with others."""
    p, q = probabilities(logits(64, 7, seed=10, spread=1), logits(64, 7, seed=0))
    low = pearson(p, q) > rel_entr(p, q).sum(axis=1)
    assert 0.1 < low.mean() < 0.9
    assert (q / p)[low].max() > CLIP > (q / p)[low].min()


@pytest.mark.parametrize("alpha", [-1.0, -0.3, 0.4, 1.0, 2.0])
def test_without_clipping_the_weights_give_the_exact_gradient(alpha):
    """Logits so near that no importance weight reaches the clip; differentiated by autograd."""
    outputs = logits(5, 4, seed=1, spread=0.2).double().requires_grad_()
    log_q = outputs.log_softmax(dim=1)
    log_p = logits(5, 4, seed=2, spread=0.2).double().log_softmax(dim=1)
    value, weights = alpha_divergence(log_q.detach(), log_p, alpha)
    (found,) = torch.autograd.grad(-(weights * log_q).sum(), outputs, retain_graph=True)
    q, ratio = log_q.exp(), (log_p - log_q).exp()
    f = ratio * ratio.log() if alpha == 1 else (ratio**alpha - 1) / (alpha * (alpha - 1))
    direct = (q * f).sum(dim=1)
    (expected,) = torch.autograd.grad(direct.sum(), outputs)
    torch.testing.assert_close(value, direct.detach())
    torch.testing.assert_close(found, expected)


def test_alpha_divergences_have_the_known_limits():
    log_q, log_p = (logits(6, 5, seed=s, spread=0.4).double().log_softmax(dim=1) for s in (1, 2))
    p, q = probabilities(log_p, log_q)
    for alpha, expected in ((1.0, rel_entr(p, q)), (1 - 1e-6, rel_entr(p, q))):
        value, _ = alpha_divergence(log_q, log_p, alpha)
        np.testing.assert_allclose(value, expected.sum(axis=1), rtol=1e-5)
    value, _ = alpha_divergence(log_q, log_p, 1e-6)
    np.testing.assert_allclose(value, rel_entr(q, p).sum(axis=1), rtol=1e-5)


@every
def test_the_teacher_is_where_a_descent_ends(name):
    outputs, teacher = logits(8, 5, seed=3).requires_grad_(), logits(8, 5, seed=4)
    optimizer = torch.optim.SGD([outputs], lr=2.0)
    for _ in range(1000):
        optimizer.zero_grad()
        DISTILLATIONS[name](outputs, teacher).backward()
        optimizer.step()
    p, q = probabilities(teacher, outputs)
    assert np.abs(p - q).max() < 0.02


@pytest.mark.parametrize("name", ["alpha-divergence", "balanced"])
def test_divergences_are_0_of_equals_and_positive_of_others(name):
    teacher = logits(50, 6, seed=5)
    shifted = teacher + logits(50, 1, seed=6)  # the same probabilities
    assert float(DISTILLATIONS[name](shifted, teacher)) == pytest.approx(0, abs=1e-5)
    for other in logits(50, 6, seed=7):
        assert float(DISTILLATIONS[name](other[None], teacher[:1])) > 0


# --- shapes and types -----------------------------------------------------------------------------


@every
def test_maps_are_the_mean_of_their_pixels(name):
    outputs, teacher = logits(3, 5, 2, 4, seed=8), logits(3, 5, 2, 4, seed=9)
    pixels = [one.movedim(1, -1).reshape(-1, 5) for one in (outputs, teacher)]
    expected = DISTILLATIONS[name](*pixels)
    torch.testing.assert_close(DISTILLATIONS[name](outputs, teacher), expected)


@every
def test_logits_of_bf16_are_taken_as_the_numbers_they_are(name):
    outputs, teacher = (logits(16, 10, seed=s).bfloat16() for s in (1, 2))
    exact = outputs.float().requires_grad_()
    found = outputs.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = DISTILLATIONS[name](found, teacher)
    expected = DISTILLATIONS[name](exact, teacher.float())
    assert loss.dtype == torch.float32
    assert torch.equal(loss.detach(), expected.detach())
    loss.backward()
    expected.backward()
    assert torch.equal(found.grad, exact.grad.bfloat16())


def extreme() -> list[torch.Tensor]:
    one_hot = F.one_hot(torch.arange(4), 4).float()
    return [
        1e4 * one_hot,
        -1e4 * one_hot,
        1e4 * (2 * one_hot.flip(0) - 1),
        100 * one_hot,
        torch.zeros(4, 4),
        torch.full((4, 4), 1e4),
    ]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_gradients(name, dtype):
    for outputs in extreme():
        for teacher in extreme():
            found = outputs.to(dtype).clone().requires_grad_()
            loss = DISTILLATIONS[name](found, teacher.to(dtype))
            loss.backward()
            assert torch.isfinite(loss)
            assert float(loss.detach()) >= 0
            assert torch.isfinite(found.grad).all()


def test_the_gradient_of_the_alpha_divergence_is_bounded_by_the_clip():
    """However far off: the sum of the weights is at most the clip."""
    for outputs in extreme():
        for teacher in extreme():
            found = outputs.clone().requires_grad_()
            DISTILLATIONS["alpha-divergence"](found, teacher).backward()
            assert float(4 * found.grad.abs().max()) <= CLIP


@every
def test_a_teacher_that_is_certain(name):
    """A class of probability 0 in fp32 but not in float64."""
    outputs = torch.tensor([[0.0, 1.0, 2.0]])
    teacher = torch.tensor([[150.0, 0.0, -20.0]])
    log_q, log_p = (log_softmax(one.double().numpy(), axis=1) for one in (outputs, teacher))
    expected = {
        "kl": -log_q[0, 0],
        "alpha-divergence": max(-log_q[0, 0], (np.exp(log_q[0, 1:]).sum() * CLIP - 1) / 2),
        "balanced": ((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)).sum() / 2,
    }[name]
    assert float(DISTILLATIONS[name](outputs, teacher)) == pytest.approx(expected, rel=1e-3)

"""Every proxy on a network small enough to compute it by another route."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from predictors.zero_cost import Batch, Probe, proxy_score
from predictors.zero_cost.zen import PERTURBATION, REPEATS

SAMPLES = 6


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_squared_error(outputs, targets):
    return 0.5 * (outputs - targets).square().sum() / len(targets)


def linear(*sizes: int, seed: int = 0) -> nn.Sequential:
    """Linear layers without biases and random weights, in double precision."""
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    for i, layer in enumerate(layers):
        layer.weight.data = draw(*layer.weight.shape, seed=seed + i)
    return nn.Sequential(*layers)


def score(name, module, inputs, targets=None, loss=half_squared_error, seed=0) -> float:
    targets = torch.zeros(len(inputs)) if targets is None else targets
    return proxy_score(Probe(module, Batch((inputs,), targets, loss), seed), name)


@pytest.fixture
def regression():
    """y = W x under the squared error: the weights, inputs, outputs, errors and dL/dW, as numpy."""
    network, inputs, targets = linear(3, 2), draw(SAMPLES, 3, seed=7), draw(SAMPLES, 2, seed=8)
    w, x = network[0].weight.detach().numpy(), inputs.numpy()
    y = x @ w.T
    errors = y - targets.numpy()
    return (network, inputs, targets), w, x, y, errors, errors.T @ x / SAMPLES


def test_gradient_norm(regression):
    case, *_, gradient = regression
    assert score("gradient-norm", *case) == pytest.approx(np.linalg.norm(gradient))


def test_gradient_norm_adds_up_layers():
    network, inputs, targets = linear(3, 4, 2), draw(SAMPLES, 3, seed=7), draw(SAMPLES, 2, seed=8)
    first, second = (layer.weight.detach().numpy() for layer in network)
    hidden = inputs.numpy() @ first.T
    errors = (hidden @ second.T - targets.numpy()) / SAMPLES
    norms = [np.linalg.norm(g) for g in ((errors @ second).T @ inputs.numpy(), errors.T @ hidden)]
    assert score("gradient-norm", network, inputs, targets) == pytest.approx(sum(norms))


def test_snip(regression):
    case, w, *_, gradient = regression
    assert score("snip", *case) == pytest.approx(np.abs(w * gradient).sum())


def test_grasp_of_a_quadratic_loss(regression):
    """The Hessian takes a matrix G to G X'X / n."""
    case, w, x, _, _, gradient = regression
    expected = -(w * (gradient @ x.T @ x / SAMPLES)).sum()
    assert score("grasp", *case) == pytest.approx(expected)


def test_grasp_by_finite_differences():
    network = nn.Sequential(linear(3, 4), nn.GELU(), linear(4, 2, seed=5))
    inputs, targets = draw(SAMPLES, 3, seed=7), draw(SAMPLES, 2, seed=8)
    weights = list(network.parameters())

    def gradients():
        return torch.autograd.grad(half_squared_error(network(inputs), targets), weights)

    def shifted(direction, step):
        with torch.no_grad():
            for weight, one in zip(weights, direction, strict=True):
                weight += step * one
        return gradients()

    direction = gradients()
    ahead, back = shifted(direction, 1e-5), shifted(direction, -2e-5)
    shifted(direction, 1e-5)
    products = [(a - b) / 2e-5 for a, b in zip(ahead, back, strict=True)]
    expected = -sum((w * p).sum().item() for w, p in zip(weights, products, strict=True))
    assert score("grasp", network, inputs, targets) == pytest.approx(expected, rel=1e-6)


def test_grasp_of_layers_that_norms_make_free_of_scale():
    """There H w = -g, so that it is the squared norm of the gradient."""
    layers = []
    for i in range(2):
        layers += [linear(3, 3, seed=i), nn.BatchNorm1d(3, eps=1e-12).double(), nn.Hardsigmoid()]
    network = nn.Sequential(*layers)
    inputs, targets = draw(SAMPLES, 3, seed=7), draw(SAMPLES, 3, seed=8)
    weights = [network[0][0].weight, network[3][0].weight]
    found = torch.autograd.grad(half_squared_error(network(inputs), targets), weights)
    expected = sum(one.square().sum().item() for one in found)
    assert score("grasp", network, inputs, targets) == pytest.approx(expected)


def test_fisher(regression):
    case, _, _, y, errors, _ = regression
    assert score("fisher", *case) == pytest.approx(
        0.5 * np.square(y * errors / SAMPLES).mean(0).sum()
    )


@pytest.mark.parametrize("inplace", [False, True])
def test_fisher_adds_up_places_before_squaring(inplace):
    """And looks at what the convolution gave, also where an activation writes over it."""
    conv = nn.Conv1d(1, 1, 1, bias=False).double()
    conv.weight.data.fill_(2.0)
    network = nn.Sequential(conv, nn.ReLU(inplace), nn.Flatten())
    inputs = torch.tensor([[[1.0, -1.0]], [[2.0, 3.0]], [[0.0, 1.0]], [[1.0, 1.0]]]).double()
    found = score("fisher", network, inputs, loss=lambda outputs, _: outputs.sum())
    # a = 2x and its gradient is 1 where it is above 0: sums over places 2, 10, 2, 4
    assert found == pytest.approx(0.5 * (4 + 100 + 4 + 16) / 4)


def test_fisher_of_tokens_adds_up_tokens():
    network, inputs = linear(3, 2), draw(SAMPLES, 5, 3, seed=7)
    weights = draw(2, seed=9)
    found = score("fisher", network, inputs, loss=lambda outputs, _: (outputs * weights).sum())
    by_sample = (network(inputs) * weights).sum(1)  # samples x 2
    assert found == pytest.approx(0.5 * by_sample.square().mean(0).sum().item())


def test_synflow():
    """R is the sum of all paths' products of absolute weights, and so is each layer's share."""
    first, second = linear(3, 4, 2)
    network = nn.Sequential(first, nn.BatchNorm1d(4).double(), nn.GELU(), nn.Dropout(0), second)
    paths = np.abs(second.weight.detach().numpy()) @ np.abs(first.weight.detach().numpy())
    found = score("synflow", network, draw(SAMPLES, 3))
    assert found == pytest.approx(math.log(2 * paths.sum()))
    assert score("synflow", network, draw(SAMPLES, 3, seed=9)) == found


def test_synflow_of_a_deep_network_is_finite():
    network = linear(*[64] * 120).float()
    found = score("synflow", network, draw(SAMPLES, 64).float())
    assert 120 * math.log(40) < found < 120 * math.log(64)  # single precision ends at 88


def test_jacobian_covariance():
    network = nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2, seed=5))
    inputs = draw(SAMPLES, 3, seed=7)
    jacobian = torch.func.vmap(torch.func.grad(lambda x: network(x).sum()))(inputs)
    values = np.linalg.eigvalsh(np.corrcoef(jacobian.detach().numpy())).clip(0) + 1e-5
    expected = -(np.log(values) + 1 / values).sum()
    assert score("jacobian-covariance", network, inputs) == pytest.approx(expected)


def test_jacobian_covariance_of_a_linear_network():
    """All samples have one gradient: one eigenvalue is their number, the others are 0."""
    found = score("jacobian-covariance", linear(3, 2), draw(SAMPLES, 3))
    values = np.array([SAMPLES, *[0] * (SAMPLES - 1)]) + 1e-5
    assert found == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-6)


@pytest.mark.parametrize("unit", [nn.ReLU(), nn.ReLU(inplace=True), nn.Hardswish(inplace=True)])
def test_naswot(unit):
    inputs = torch.tensor([[1.0, -1, 2], [1, -2, -3], [-1, 4, -5], [0.1, -4, 0.2]])
    agreeing = np.array([[3, 2, 0, 3], [2, 3, 1, 2], [0, 1, 3, 0], [3, 2, 0, 3]])
    found = score("naswot", nn.Sequential(unit), inputs)
    assert found == pytest.approx(math.log(np.linalg.det(agreeing + np.eye(4))))


def test_naswot_adds_up_units_and_leaves_gates_alone():
    inputs = draw(SAMPLES, 3)
    once = nn.Sequential(linear(3, 4), nn.ReLU(), nn.Sigmoid())
    codes = (once[0](inputs) > 0).double() * 2 - 1
    kernel = (codes @ codes.T + 4) / 2
    twice = nn.Sequential(*once, nn.Tanh())  # which sees sigmoids: all above 0
    for network, units in ((once, kernel), (twice, kernel + 4)):
        expected = torch.logdet(units + torch.eye(SAMPLES)).item()
        assert score("naswot", network, inputs) == pytest.approx(expected)


def zen_draws(*weights: tuple[int, ...], inputs: tuple[int, ...], seed: int):
    """Yield what the proxy draws: weights, inputs and perturbations."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(REPEATS):
        yield [torch.randn(s, generator=generator).double() for s in (*weights, inputs, inputs)]


def test_zen():
    expected = []
    for w, _, moved in zen_draws((2, 3), inputs=(SAMPLES, 3), seed=4):
        expected.append((PERTURBATION * moved @ w.T).norm(dim=1).mean().log().item())
    assert score("zen", linear(3, 2), draw(SAMPLES, 3), seed=4) == pytest.approx(np.mean(expected))


def test_zen_gives_back_the_scale_that_norms_take():
    network = nn.Sequential(linear(3, 2), nn.BatchNorm1d(2).double())
    network[1].weight.data.fill_(5.0)  # as trained: it starts anew
    expected = []
    for w, x, moved in zen_draws((2, 3), inputs=(SAMPLES, 3), seed=4):
        before, after = x @ w.T, (x + PERTURBATION * moved) @ w.T
        normed = [(h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() for h in (before, after)]
        change = (normed[1] - normed[0]).norm(dim=1).mean()
        expected.append((change.log() + before.var(0, correction=0).mean().log() / 2).item())
    assert score("zen", network, draw(SAMPLES, 3), seed=4) == pytest.approx(np.mean(expected))


def test_zen_looks_at_features_before_the_last_pool():
    conv, last = nn.Conv1d(3, 2, 1, bias=False).double(), linear(2, 4)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool1d(1), nn.Flatten(), last)
    expected = []
    for w, _, _, moved in zen_draws((2, 3, 1), (4, 2), inputs=(SAMPLES, 3, 5), seed=4):
        change = PERTURBATION * torch.einsum("bct,oc->bot", moved, w[:, :, 0])
        expected.append(change.flatten(1).norm(dim=1).mean().log().item())
    found = score("zen", network, draw(SAMPLES, 3, 5), seed=4)
    assert found == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("norm", "size"), [(nn.LayerNorm(4), 1), (nn.RMSNorm(4), 1), (nn.GroupNorm(2, 4), 2)]
)
def test_zen_counts_other_norms_alike(norm, size):
    network = nn.Sequential(linear(3, 4), norm.double())
    expected = []
    for w, x, moved in zen_draws((4, 3), inputs=(SAMPLES, 3), seed=4):
        before, after = x @ w.T, (x + PERTURBATION * moved) @ w.T
        change = (norm(after) - norm(before)).norm(dim=1).mean().log()
        groups = before.reshape(SAMPLES, size, -1)
        squares = groups.square() if isinstance(norm, nn.RMSNorm) else groups.var(2, correction=0)
        expected.append((change + squares.mean().log() / 2).item())
    assert score("zen", network, draw(SAMPLES, 3), seed=4) == pytest.approx(np.mean(expected))


def test_zico_compares_the_halves():
    network, inputs, targets = linear(3, 4, 2), draw(SAMPLES, 3, seed=7), draw(SAMPLES, 2, seed=8)
    halves = []
    for rows in (slice(0, 3), slice(3, 6)):
        loss = half_squared_error(network(inputs[rows]), targets[rows])
        halves.append([g.numpy() for g in torch.autograd.grad(loss, list(network.parameters()))])
    expected = 0.0
    for both in zip(*halves, strict=True):
        stacked = np.stack(both)
        expected += np.log((np.abs(stacked).mean(0) / stacked.std(0)).sum())
    assert score("zico", network, inputs, targets) == pytest.approx(expected)


def test_zico_leaves_out_weights_whose_gradient_does_not_vary():
    inputs = torch.tensor([[1.0, 1], [1, 2], [1, 5], [1, 6]]).double()
    found = score("zico", linear(2, 1), inputs, loss=lambda outputs, _: outputs.mean())
    assert found == pytest.approx(math.log(3.5 / 2))  # gradients 1.5 and 5.5: mean 3.5, std 2


def test_parameters_and_macs():
    network = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(12, 5)).double()
    inputs = draw(SAMPLES, 2, 4)
    assert score("parameters", network, inputs) == 2 * 3 * 3 + 3 + 12 * 5 + 5
    assert score("macs", network, inputs) == 2 * 3 * 3 * 4 + 12 * 5

import copy

import pytest
import torch
from torch import nn

from nas.subnet.calibrate import calibrate


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5, momentum=0.3),
            nn.ReLU(),
            nn.Conv2d(5, 4, 1),
            nn.BatchNorm2d(4),
            nn.AdaptiveAvgPool2d(1),
        )
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
            norm.bias.normal_(generator=torch.Generator().manual_seed(2))
    return net


def batches(n: int = 3, size: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, 2, 7, 7, generator=generator) * (i + 1) + i for i in range(n)]


def singles(batches):
    """Batches of networks with one input."""
    return ((batch,) for batch in batches)


def by_hand(net: nn.Sequential, images: list[torch.Tensor]):
    """Mean of the batches' means and of their unbiased variances, norm by norm, in float64."""
    found = []
    states = [batch.double() for batch in images]
    for layer in copy.deepcopy(net).double():
        if isinstance(layer, nn.BatchNorm2d):
            means = [x.mean(dim=(0, 2, 3)) for x in states]
            flat = [x.transpose(0, 1).flatten(1) for x in states]
            found.append(
                (torch.stack(means).mean(0), torch.stack([f.var(1) for f in flat]).mean(0))
            )
            states = [
                (x - mean[:, None, None])
                / (f.var(1, unbiased=False)[:, None, None] + layer.eps).sqrt()
                * layer.weight[:, None, None]
                + layer.bias[:, None, None]
                for x, f, mean in zip(states, flat, means, strict=True)
            ]
        else:
            states = [layer(x) for x in states]
    return found


@pytest.mark.parametrize("n", [1, 3])
def test_statistics_are_the_mean_over_batches(net, n):
    with torch.no_grad():
        expected = by_hand(net, batches(n))
    calibrate(net, singles(batches(n)))
    for norm, (mean, variance) in zip((net[1], net[4]), expected, strict=True):
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-4, atol=1e-5)


def test_earlier_statistics_and_the_order_do_not_matter(net):
    other = copy.deepcopy(net)
    calibrate(other, singles(batch * 50 for batch in batches()))
    calibrate(other, singles(reversed(batches())))
    calibrate(net, singles(batches()))
    for a, b in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_statistics_change(net):
    before = copy.deepcopy(dict(net.named_parameters()))
    calibrate(net, singles(batches()))
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert all(p.grad is None for p in net.parameters())
    assert not any(module.training for module in net.modules())
    assert (net[1].momentum, net[4].momentum) == (0.3, 0.1)


def test_a_batch_that_fails_leaves_momentum_and_mode_as_after_success(net):
    def failing():
        yield (batches()[0],)
        raise RuntimeError("no more images")

    with pytest.raises(RuntimeError, match="no more images"):
        calibrate(net, failing())
    assert (net[1].momentum, net[4].momentum) == (0.3, 0.1)
    assert not net.training


def test_a_net_without_norms_is_left_in_eval_mode():
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Dropout(0.5))
    calibrate(net, singles(batches()))
    assert not net.training


def test_a_net_without_norms_is_not_run():
    class Refusing(nn.Module):
        def forward(self, inputs):
            raise AssertionError("run")

    calibrate(Refusing(), singles(batches()))


def test_norms_of_sequences_and_of_several_inputs():
    class Two(nn.Module):
        """A norm over vectors, one over sequences, and dropout, which is to do nothing."""

        def __init__(self):
            super().__init__()
            self.flat, self.long = nn.BatchNorm1d(3), nn.BatchNorm1d(2)
            self.dropout = nn.Dropout(0.5)

        def forward(self, vectors, sequences):
            return self.flat(self.dropout(vectors)), self.long(sequences)

    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(8, 3, generator=generator) + 2
    sequences = torch.randn(8, 2, 5, generator=generator) * 3
    net = Two()
    calibrate(net, [(vectors, sequences)])
    torch.testing.assert_close(net.flat.running_mean, vectors.mean(0))
    torch.testing.assert_close(net.long.running_mean, sequences.mean((0, 2)))
    flat = sequences.transpose(0, 1).flatten(1)
    torch.testing.assert_close(net.long.running_var, flat.var(1))
    assert not any(module.training for module in net.modules())

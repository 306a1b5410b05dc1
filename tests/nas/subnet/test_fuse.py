import copy

import numpy as np
import pytest
import torch
from torch import fx, nn

from nas.subnet.calibrate import batch_norms, calibrate
from nas.subnet.fuse import fused
from search_spaces import build_space
from search_spaces.supernet import Supernet
from tests.contracts.inputs import random_inputs
from tests.contracts.supernet_contract import joined, randomise


@pytest.mark.parametrize(
    ("name", "num_left"),
    [("mobilenet-digits", 0), ("resnet-cifar", 0), ("tdnn-digits", None), ("nasbench201", None)],
)
def test_fused_logits_are_those_of_the_calibrated_subnet(name, num_left):
    space = build_space(name)
    supernet = Supernet(space)
    randomise(supernet, seed=0)
    architecture = space.decode(space.sample(1, np.random.default_rng(0))[0])
    subnet = supernet.extract(architecture)
    inputs = random_inputs(supernet.inputs(architecture), 16, seed=0)
    calibrate(subnet, [inputs])
    before = copy.deepcopy(subnet.state_dict())
    result = fused(subnet)
    if num_left is not None:
        assert len(batch_norms(subnet)) > 5
        assert len(batch_norms(result)) == num_left
    with torch.no_grad():
        expected, found = joined(subnet(*inputs)), joined(result(*inputs))
    assert expected.std() > 1e-2
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in subnet.state_dict().items())
    assert len(batch_norms(subnet)) == sum(key.endswith("running_mean") for key in before)


def test_norms_that_are_not_alone_behind_a_convolution_stay():
    class Shared(nn.Module):
        """The first norm's convolution is read twice, the second norm follows an activation."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.other = (
                nn.Conv2d(2, 3, 1),
                nn.BatchNorm2d(3),
                nn.BatchNorm2d(3),
            )
            self.activation = nn.ReLU()

        def forward(self, inputs):
            hidden = self.conv(inputs)
            return self.norm(hidden) + self.other(self.activation(hidden))

    net = fx.symbolic_trace(Shared().eval())
    assert len(batch_norms(fused(net))) == 2


def test_modules_called_twice_stay():
    class Twice(nn.Module):
        """One convolution before two norms."""

        def __init__(self):
            super().__init__()
            self.conv, self.first, self.second = (
                nn.Conv2d(2, 2, 1),
                nn.BatchNorm2d(2),
                nn.BatchNorm2d(2),
            )

        def forward(self, inputs):
            return self.second(self.conv(self.first(self.conv(inputs))))

    net = fx.symbolic_trace(Twice().eval())
    assert len(batch_norms(fused(net))) == 2

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces import LayerSpec, build_space
from search_spaces.elastic import ElasticLayer
from search_spaces.elastic.kernel_transform import KernelTransformLayer
from search_spaces.mobilenet import DIGITS, mobilenet_space
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of, randomise

IMAGE = {"height": 9, "width": 6}


def specs(kernels):
    return [
        LayerSpec.of(
            "inverted_residual",
            IMAGE
            | {"in_channels": 4, "mid_channels": mid, "out_channels": 4, "kernel": kernel}
            | {"stride": 1, "squeeze_channels": 2, "activation": "relu"},
        )
        for mid in (8, 12)
        for kernel in kernels
    ]


def random_layer(kernels=(3, 5, 7)) -> KernelTransformLayer:
    layer = KernelTransformLayer(specs(kernels))
    randomise(layer, seed=0)
    return layer


def test_matrices_have_names_and_begin_as_identities():
    layer = KernelTransformLayer(specs((3, 5, 7)))
    matrices = dict(layer.transform.named_parameters())
    assert list(matrices) == ["from_7_to_5", "from_5_to_3"]
    assert torch.equal(matrices["from_7_to_5"], torch.eye(25))
    assert torch.equal(matrices["from_5_to_3"], torch.eye(9))
    assert not list(KernelTransformLayer(specs((3,))).transform.parameters())
    assert [tuple(p.shape) for p in KernelTransformLayer(specs((3, 7))).transform.parameters()] == [
        (9, 9)
    ]


def test_identities_change_nothing():
    layer = random_layer()
    plain = ElasticLayer(specs((3, 5, 7)))
    plain.shared.load_state_dict(layer.shared.state_dict())
    with torch.no_grad():
        for matrix in layer.transform.parameters():
            matrix.copy_(torch.eye(len(matrix)))
    for spec in specs((3, 5, 7)):
        inputs = torch.randn(8, 4, 9, 6, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(layer(spec, inputs), plain(spec, inputs))


@pytest.mark.parametrize("mid", [8, 12])
def test_kernels_by_hand(mid):
    layer = random_layer()
    whole = layer.shared.get_parameter("depthwise.weight").detach()
    to_5, to_3 = (matrix.detach() for matrix in layer.transform.parameters())
    for kernel in (3, 5, 7):
        spec = next(s for s in specs((kernel,)) if s["mid_channels"] == mid)
        found = layer.slice(spec)["depthwise.weight"].detach()
        assert found.shape == (mid, 1, kernel, kernel)
        for channel in range(mid):
            expected = whole[channel, 0]
            if kernel <= 5:
                expected = (to_5 @ expected[1:6, 1:6].reshape(25)).reshape(5, 5)
            if kernel == 3:
                expected = (to_3 @ expected[1:4, 1:4].reshape(9)).reshape(3, 3)
            torch.testing.assert_close(found[channel, 0], expected)


def test_other_weights_are_plain_slices():
    layer = random_layer()
    spec = specs((3,))[0]
    plain = ElasticLayer.slice(layer, spec)
    found = layer.slice(spec)
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[n], plain[n]) for n in plain if n != "depthwise.weight")
    assert not torch.allclose(found["depthwise.weight"], plain["depthwise.weight"])


@pytest.mark.parametrize(("kernel", "used"), [(7, 0), (5, 1), (3, 2)])
def test_gradients_reach_the_matrices_that_are_used(kernel, used):
    layer = random_layer()
    spec = specs((kernel,))[0]
    inputs = torch.randn(8, 4, 9, 6, generator=torch.Generator().manual_seed(0))
    layer(spec, inputs).square().sum().backward()
    gradients = [matrix.grad for matrix in layer.transform.parameters()]
    assert [g is not None and bool(g.any()) for g in gradients] == [i < used for i in range(2)]
    shared = layer.shared.get_parameter("depthwise.weight").grad
    reached = shared.abs().sum(dim=(0, 1)) > 0
    side = {7: 7, 5: 5, 3: 5}[kernel]  # the kernel of 3 is read from the one of 5 by a whole matrix
    assert reached.sum() == side**2


# --- supernets ------------------------------------------------------------------------------------

SPACE = mobilenet_space(replace(DIGITS, kernels=(3, 5, 7), resolutions=(8,)), 5, 1)


def test_extracted_subnets_hold_the_mapped_kernels():
    supernet = Supernet(SPACE, kernel_transform=True)
    randomise(supernet, seed=0)
    plain = Supernet(SPACE)
    plain.load_state_dict({n: w for n, w in supernet.state_dict().items() if ".shared." in n})
    population = SPACE.sample(6, np.random.default_rng(0))
    for genome in population:
        architecture = SPACE.decode(genome)
        inputs = batch_of(supernet, architecture, 8, seed=0)
        subnet = supernet.extract(architecture).train()
        assert not any("transform" in name for name, _ in subnet.named_parameters())
        with torch.no_grad():
            expected, found = supernet(inputs, architecture), subnet(*inputs)
            without = plain(inputs, architecture)
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
        assert (without - expected).abs().max() > 1e-3 * expected.abs().max()


def test_a_supernet_that_begins_with_identities_equals_the_plain_one():
    torch_state = torch.random.get_rng_state()
    plain, transformed = Supernet(SPACE), Supernet(SPACE, kernel_transform=True)
    torch.random.set_rng_state(torch_state)
    transformed.load_state_dict(plain.state_dict(), strict=False)
    extra = dict(transformed.named_parameters()).keys() - dict(plain.named_parameters()).keys()
    assert len(extra) == 2 * 9  # of every block
    assert {name.split(".")[2] for name in extra} == {"transform"}
    architecture = SPACE.decode(SPACE.smallest()[0])
    inputs = batch_of(plain, architecture, 8, seed=0)
    with torch.no_grad():
        assert torch.equal(plain(inputs, architecture), transformed(inputs, architecture))


def test_copies_of_a_supernet_have_matrices_of_their_own():
    supernet = Supernet(SPACE, kernel_transform=True)
    copied = copy.deepcopy(supernet)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert all(p.any() for n, p in copied.named_parameters() if ".transform." in n)


def test_spaces_without_kernels_to_choose_have_no_matrices():
    space = build_space("resnet-digits")
    names = [name for name, _ in Supernet(space, kernel_transform=True).named_parameters()]
    assert names == [name for name, _ in Supernet(space).named_parameters()]

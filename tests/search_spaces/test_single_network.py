import copy

import pytest
import torch

from search_spaces import InputError
from search_spaces.layer_modules.batch_norm import BatchNorm
from search_spaces.regularisation import Regularisation
from search_spaces.single_network import single_network
from search_spaces.supernet import Supernet
from tests.contracts.cached_spaces import cached_space
from tests.contracts.supernet_contract import batch_of, flat_gradient, joined, randomise

NAMES = ["mobilenet-digits", "bert-mini", "tdnn-digits", "nasnet-digits"]


def random_supernet(name: str, kernel_transform: bool = False) -> Supernet:
    supernet = Supernet(cached_space(name), kernel_transform)
    randomise(supernet, seed=0)
    return supernet


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_and_learns_as_the_supernet_does(name, which):
    supernet = random_supernet(name)
    architecture = supernet.space.decode(getattr(supernet.space, which)()[0])
    alone = single_network(supernet, architecture)
    inputs = batch_of(supernet, architecture, 8, seed=0)
    gradients = []
    for network in (supernet, alone):
        generator = torch.Generator().manual_seed(0)
        dropping = Regularisation(generator, drop_path=0.3, dropout=0.3)
        outputs = joined(network(inputs, architecture, dropping))
        weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
        (outputs * weights).sum().backward()
        gradients.append(flat_gradient(network).square().sum())
        with torch.no_grad():
            assert torch.equal(
                joined(network(inputs, architecture)), joined(supernet(inputs, architecture))
            )
    torch.testing.assert_close(*gradients)
    assert alone.inputs(architecture) == supernet.inputs(architecture)
    assert alone.layers(architecture) == supernet.layers(architecture)


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_the_weights_of_its_architecture_and_no_others(name):
    supernet = random_supernet(name)
    space = supernet.space
    alone = single_network(supernet, space.decode(space.smallest()[0]))
    num_params = sum(parameter.numel() for parameter in alone.parameters())
    assert num_params == space.layers.costs(space.smallest()).num_params[0]
    assert not list(alone.buffers())
    kept = copy.deepcopy(alone.state_dict())
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert all(torch.equal(weight, kept[key]) for key, weight in alone.state_dict().items())


def test_what_is_extracted_is_the_same_and_waits_for_calibration():
    """Mapped kernels are plain ones in it."""
    supernet = random_supernet("mobilenet-digits", kernel_transform=True)
    architecture = supernet.space.decode(supernet.space.smallest()[0])
    alone = single_network(supernet, architecture)
    assert not any("transform" in name for name, _ in alone.named_parameters())
    with torch.no_grad():
        alone(batch_of(supernet, architecture, 8, seed=0), architecture)
    expected, found = (one.extract(architecture) for one in (supernet, alone))
    assert expected.state_dict().keys() == found.state_dict().keys()
    for key, value in found.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    norms = [module for module in found.modules() if isinstance(module, BatchNorm)]
    assert norms
    assert not any(norm.num_batches_tracked for norm in norms)
    with torch.no_grad():
        next(found.parameters()).add_(1.0)
    again = next(alone.extract(architecture).parameters())
    assert torch.equal(again, next(expected.parameters()))


def test_other_architectures_are_refused():
    supernet = random_supernet("mobilenet-digits")
    space = supernet.space
    smallest, largest = (space.decode(one[0]) for one in (space.smallest(), space.largest()))
    alone = single_network(supernet, smallest)
    for use in (alone.extract, alone.inputs, alone.layers):
        with pytest.raises(InputError, match="alone"):
            use(largest)
    with pytest.raises(InputError, match="alone"):
        alone(batch_of(supernet, largest, 8, seed=0), largest)
    stranger = cached_space("vit-digits")
    with pytest.raises(InputError, match="vit-digits@1"):
        single_network(supernet, stranger.decode(stranger.smallest()[0]))

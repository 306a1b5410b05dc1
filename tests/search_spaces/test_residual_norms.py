import copy
from dataclasses import replace

import pytest
import torch

from search_spaces import SearchSpace
from search_spaces.layer_modules import layer_module
from search_spaces.residual_norms import LAST_NORMS, zero_last_norms
from search_spaces.resnet import DIGITS, resnet_space
from search_spaces.supernet import Supernet
from tests.contracts.cached_spaces import cached_space
from tests.contracts.elastic_contract import inputs_of
from tests.contracts.supernet_contract import batch_of, joined

BOTTLENECKS = replace(DIGITS, name="bottlenecks", block="bottleneck")
NAMES = [
    "mobilenet-digits", "resnet-digits", "bottlenecks", "nasbench201-digits",
    "nasbench-macro-digits",
]  # fmt: skip


def space_of(name: str) -> SearchSpace:
    return resnet_space(BOTTLENECKS, 5, 1) if name == BOTTLENECKS.name else cached_space(name)


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_blocks_with_a_shortcut_in_every_option_are_zeroed(name):
    supernet = Supernet(space_of(name))
    before = copy.deepcopy(supernet.state_dict())
    names = zero_last_norms(supernet)
    assert names
    for key, weight in supernet.state_dict().items():
        assert (not weight.any()) if key in names else torch.equal(weight, before[key])
    for slot, specs in supernet.slot_specs():
        kind = specs[0].kind
        residual = [getattr(layer_module(spec), "residual", kind in LAST_NORMS) for spec in specs]
        assert all(residual) == any(f".{slot}." in name for name in names), slot


@pytest.mark.parametrize("name", NAMES)
def test_zeroed_blocks_are_their_shortcuts(name):
    """Their branches may hold whatever weights; an identity shortcut leaves the input (through the
    ReLU that ends a ResNet's block).
    """
    supernet = Supernet(space_of(name))
    zeroed = {name.split(".")[1] for name in zero_last_norms(supernet)}
    for slot, specs in supernet.slot_specs():
        if slot not in zeroed:
            continue
        layer = supernet.slots[slot]
        cases = [(spec, *inputs_of(spec, 4, seed=0)) for spec in specs[:4]]
        with torch.no_grad():
            before = [layer(spec, inputs) for spec, inputs in cases]
            last = LAST_NORMS[specs[0].kind].rpartition(".")[0]
            for key, weight in layer.shared.named_parameters():
                if not key.startswith((last, "projection", "downsample")):
                    weight.normal_(generator=torch.Generator().manual_seed(1))
            after = [layer(spec, inputs) for spec, inputs in cases]
        for (spec, inputs), first, second in zip(cases, before, after, strict=True):
            assert torch.equal(first, second)
            if spec.kind == "inverted_residual":
                assert torch.equal(first, inputs)
            elif spec.values.get("shortcut") == "identity":
                assert torch.equal(first, inputs.relu())


@pytest.mark.parametrize("name", NAMES)
def test_networks_still_see_their_inputs_and_every_block_can_leave_zero(name):
    space = space_of(name)
    supernet = Supernet(space)
    names = zero_last_norms(supernet)
    for genome in (space.smallest()[0], space.largest()[0]):
        architecture = space.decode(genome)
        outputs = joined(supernet(batch_of(supernet, architecture, 8, seed=0), architecture))
        assert outputs.std(dim=0).mean() > 1e-3
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    (outputs * weights).sum().backward()  # of the largest
    for key in names:
        gradient = supernet.get_parameter(key).grad
        assert gradient is not None
        assert gradient.any()


@pytest.mark.parametrize("name", ["vit-digits", "tdnn-digits", "nasnet-digits"])
def test_spaces_without_such_norms_stay_as_they_are(name):
    supernet = Supernet(cached_space(name))
    before = copy.deepcopy(supernet.state_dict())
    assert zero_last_norms(supernet) == []
    assert all(torch.equal(weight, before[key]) for key, weight in supernet.state_dict().items())

"""Networks of timm, of random weights: real forms that nobody wrote for this project."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch

from search_spaces.conversion.elasticize import Elastic, elasticize
from tests.contracts.supernet_contract import joined
from tests.contracts.traced_costs import traced_costs
from tests.search_spaces.conversion.networks import seeded
from tests.timm_without_torchvision import timm_models


@dataclass(frozen=True)
class Expected:
    """What a model is tried at, and what can be chosen of it.

    Args:
        size: of its images; small, to be quick.
        nouns: what its dimensions are of.
        settings: of timm.
    """

    size: int
    nouns: frozenset[str]
    settings: tuple[tuple[str, object], ...] = ()


def of(size: int, nouns: str, **settings: object) -> Expected:
    return Expected(size, frozenset(nouns.split()), tuple(settings.items()))


SMALL_VIT = {"img_size": 32, "patch_size": 8}
MODELS = {
    "resnet18": of(32, "width depth"),
    "vit_tiny_patch16_224": of(32, "width heads depth", depth=2, **SMALL_VIT),
    "deit_tiny_patch16_224": of(32, "width heads depth", depth=2, **SMALL_VIT),
    "convnext_atto": of(32, "width kernel depth", depths=(1, 1, 2, 1)),
    "mobilenetv3_small_100": of(32, "width kernel depth"),
}
LARGE = {
    "efficientnet_b0": of(64, "width kernel depth"),
    "densenet121": of(64, "width"),
    "resnet50": of(64, "width depth"),
    "mobilenetv2_100": of(64, "width depth"),
    "vit_tiny_patch16_224": of(224, "width heads depth"),
    "deit_tiny_patch16_224": of(224, "width heads depth"),
    "convnext_atto": of(64, "width kernel depth"),
}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return timm_models()


def check(timm: ModuleType, name: str, expected: Expected) -> None:
    """Convert a model; compare the largest subnet with it, and some others with the supernet."""
    side = expected.size

    def build() -> tuple[torch.nn.Module, torch.Tensor]:
        model = timm.create_model(name, num_classes=10, **dict(expected.settings))
        return model, torch.randn(2, 3, side, side)

    network, example = seeded(build)
    elastic = elasticize(network, example, name=name)
    space = elastic.space
    assert {d.name.rpartition(".")[2].rstrip("0123456789") for d in space.dimensions} >= (
        expected.nouns
    )
    assert space.settings == {"num_classes": 10, "input_channels": 3}
    largest = space.decode(space.largest()[0])
    subnet = elastic.supernet.extract(largest).eval()
    for size in (1, 3):
        images = torch.randn(size, 3, side, side)
        with torch.no_grad():
            assert torch.equal(subnet(images), network(images))
    costs_fall(elastic)
    check_subnets(elastic, side)


def costs_fall(elastic: Elastic) -> None:
    """The smallest network is much cheaper than the largest, whose parameters are the model's."""
    space = elastic.space
    costs = space.layers.costs(np.concatenate([space.smallest(), space.largest()]))
    assert costs.macs[0] < 0.7 * costs.macs[1]
    assert costs.num_params[0] < 0.7 * costs.num_params[1]


def check_subnets(elastic: Elastic, side: int) -> None:
    """Extracted networks answer as the supernet does, and cost what is said."""
    space = elastic.space
    population = np.concatenate([space.smallest(), space.sample(1, np.random.default_rng(0))])
    costs = space.layers.costs(population)
    images = torch.randn(4, 3, side, side)
    for i, genome in enumerate(population):
        architecture = space.decode(genome)
        subnet = elastic.supernet.extract(architecture).train()
        with torch.no_grad():
            expected = joined(elastic.supernet(images, architecture))
            found = joined(subnet(images))
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert costs.row(i) == traced_costs(subnet.eval(), images[:1])


@pytest.mark.parametrize("name", MODELS)
def test_models_become_supernets(timm, name):
    check(timm, name, MODELS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_models_become_supernets(timm, name):
    check(timm, name, LARGE[name])

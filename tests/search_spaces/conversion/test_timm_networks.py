"""Networks of timm, where it is installed; torchvision need not be."""

import sys

import pytest
import torch

from search_spaces.conversion.elasticize import elasticize
from tests.timm_without_torchvision import import_timm


@pytest.fixture(scope="module")
def timm():
    """The library, whose own warnings of what it will rename are none of ours."""
    found = import_timm()
    if found is None:
        pytest.skip("timm is not installed")
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "least"), [("resnet18", 15), ("mobilenetv3_small_050", 30), ("convnext_atto", 30)]
)
def test_networks_of_timm_become_elastic(timm, name, least):
    """That the largest subnet is the network is checked on the way."""
    torch.manual_seed(0)
    elastic = elasticize(timm.create_model(name), torch.randn(1, 3, 64, 64))
    assert len(elastic.space.dimensions) >= least
    assert elastic.space.settings == {"num_classes": 1000, "input_channels": 3}


def test_the_stand_in_is_gone_again(timm):
    assert not [name for name in sys.modules if name.partition(".")[0] == "torchvision"]

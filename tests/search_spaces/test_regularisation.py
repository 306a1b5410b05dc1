import pytest
import torch

from search_spaces.regularisation import Regularisation
from search_spaces.supernet import Supernet
from tests.contracts.cached_spaces import cached_space
from tests.contracts.supernet_contract import batch_of, joined, randomise


def drawing(seed: int = 0, **probabilities: float) -> Regularisation:
    return Regularisation(torch.Generator().manual_seed(seed), **probabilities)


# --- what is dropped together ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "together"), [((50, 40, 3, 5), 2), ((50, 6, 40), 3), ((50, 40), 2)]
)
def test_features_are_dropped_by_channel_of_maps_else_one_by_one(shape, together):
    kept = drawing(dropout=0.25).drop_features(torch.ones(shape))
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 1 / 0.75]))
    groups = kept.flatten(together) if together < len(shape) else kept.unsqueeze(-1)
    assert torch.equal(groups.amin(dim=-1), groups.amax(dim=-1))
    share = (groups[..., 0] == 0).float().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / groups[..., 0].numel()) ** 0.5


def test_paths_are_dropped_by_sample():
    kept = drawing(drop_path=0.4).drop_paths(torch.ones(2000, 2, 3, 1))
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 1 / 0.6]))
    assert torch.equal(kept.flatten(1).amin(dim=1), kept.flatten(1).amax(dim=1))
    assert abs((kept[:, 0, 0, 0] == 0).float().mean() - 0.4) < 0.05


def test_types_stay_and_without_a_probability_nothing_is_drawn():
    values = torch.ones(4, 8, dtype=torch.bfloat16)
    both = drawing(dropout=0.5, drop_path=0.5)
    assert both.drop_features(values).dtype == both.drop_paths(values).dtype == torch.bfloat16
    none = drawing()
    state = none.generator.get_state()
    assert none.drop_features(values) is none.drop_paths(values) is values
    assert torch.equal(none.generator.get_state(), state)


# --- in a supernet --------------------------------------------------------------------------------


def random_case(name: str):
    supernet = Supernet(cached_space(name))
    randomise(supernet, seed=0)
    architecture = supernet.space.decode(supernet.space.largest()[0])
    return supernet, architecture, batch_of(supernet, architecture, 8, seed=0)


@pytest.mark.parametrize(
    "name", ["mobilenet-digits", "vit-digits", "bert-mini", "tdnn-digits", "nasnet-digits"]
)
def test_dropout_is_on_what_the_last_layer_reads_alone(name):
    supernet, architecture, inputs = random_case(name)
    last = supernet.network(architecture).layers[-1]
    assert last.name in supernet.network(architecture).outputs.values()
    read: list[torch.Tensor] = []
    handle = supernet.slots[last.name].register_forward_pre_hook(
        lambda module, arguments: read.append(arguments[1].clone())
    )
    with torch.no_grad():
        plain = supernet(inputs, architecture)
        dropped = supernet(inputs, architecture, drawing(dropout=0.5))
        features = drawing(dropout=0.5).drop_features(read[0])
        handle.remove()
        expected = supernet.slots[last.name](last.spec, features)
        again = supernet(inputs, architecture, drawing(dropout=0.5))
        none = supernet(inputs, architecture, drawing())
    assert torch.equal(read[1], features)  # no other layer drew before it
    assert torch.equal(dropped, expected)
    assert torch.equal(dropped, again)
    assert torch.equal(plain, none)
    assert not torch.allclose(plain, dropped)


def test_drop_path_is_on_droppable_layers_alone():
    supernet, architecture, inputs = random_case("nasnet-digits")
    network = supernet.network(architecture)
    values = dict(zip(network.inputs, inputs, strict=True))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in network.layers:
            outputs = supernet.slots[layer.name](layer.spec, *(values[n] for n in layer.reads))
            if layer.droppable:
                mask = torch.rand(8, generator=generator) < 0.7
                outputs = outputs * mask[:, None, None, None] / 0.7
            values[layer.name] = outputs
        found = supernet(inputs, architecture, drawing(drop_path=0.3))
        plain = supernet(inputs, architecture)
    assert sum(layer.droppable for layer in network.layers) > 3
    torch.testing.assert_close(joined(found), values[network.layers[-1].name])
    assert not torch.allclose(found, plain)


def test_what_is_dropped_gets_no_gradient():
    supernet, architecture, inputs = random_case("tdnn-digits")
    last = supernet.network(architecture).layers[-1]
    read: list[torch.Tensor] = []
    supernet.slots[last.name].register_forward_pre_hook(
        lambda module, arguments: read.append(arguments[1])
    )
    supernet(inputs, architecture, drawing(dropout=0.5)).sum().backward()
    gradient = supernet.get_parameter(f"slots.{last.name}.shared.0.weight").grad
    torch.testing.assert_close(gradient, read[0].sum(0).expand_as(gradient))

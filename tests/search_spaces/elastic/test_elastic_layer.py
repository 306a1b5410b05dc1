import pytest
import torch

from search_spaces import LayerSpec
from search_spaces.elastic import ElasticLayer
from search_spaces.elastic.elastic_layer import leading_slice
from search_spaces.layer_modules import layer_module

LARGEST = LayerSpec.of(
    "inverted_residual",
    {
        "height": 8,
        "width": 8,
        "in_channels": 6,
        "mid_channels": 24,
        "out_channels": 6,
        "kernel": 7,
        "stride": 1,
        "squeeze_channels": 4,
        "activation": "hard_swish",
    },
)
SMALLER = LayerSpec.of(
    "inverted_residual",
    LARGEST.values
    | {"height": 4, "width": 4, "in_channels": 5, "mid_channels": 16, "out_channels": 5}
    | {"kernel": 3, "squeeze_channels": 3},
)


def random_layer(largest: LayerSpec) -> ElasticLayer:
    layer, generator = ElasticLayer([largest, SMALLER]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return layer


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 4, 7, 7), lambda w: w),
        ((3, 2, 5, 5), lambda w: w[:3, :2, 1:6, 1:6]),
        ((6, 4, 3, 3), lambda w: w[:, :, 2:5, 2:5]),
        ((1, 4, 1, 1), lambda w: w[:1, :, 3:4, 3:4]),
        ((6, 1, 3, 7), lambda w: w[:, :1, 2:5]),
    ],
)
def test_first_channels_and_centre_of_kernels(shape, expected):
    weights = torch.arange(6 * 4 * 7 * 7, dtype=torch.float32).reshape(6, 4, 7, 7)
    view = leading_slice(weights, shape)
    assert view.shape == shape
    assert torch.equal(view, expected(weights))
    assert view.untyped_storage().data_ptr() == weights.untyped_storage().data_ptr()


def test_vectors_and_matrices_take_their_first_entries():
    assert leading_slice(torch.arange(5), (3,)).tolist() == [0, 1, 2]
    assert leading_slice(torch.arange(6).reshape(2, 3), (1, 2)).tolist() == [[0, 1]]


def test_slices_by_hand():
    layer = random_layer(LARGEST)
    shared = dict(layer.shared.named_parameters())
    slices = layer.slice(SMALLER)
    expected = {
        "expand.0.weight": shared["expand.0.weight"][:16, :5],
        "expand.1.weight": shared["expand.1.weight"][:16],
        "expand.1.bias": shared["expand.1.bias"][:16],
        "depthwise.weight": shared["depthwise.weight"][:16, :, 2:5, 2:5],
        "depthwise_norm.weight": shared["depthwise_norm.weight"][:16],
        "depthwise_norm.bias": shared["depthwise_norm.bias"][:16],
        "squeeze_excite.reduce.weight": shared["squeeze_excite.reduce.weight"][:3, :16],
        "squeeze_excite.reduce.bias": shared["squeeze_excite.reduce.bias"][:3],
        "squeeze_excite.expand.weight": shared["squeeze_excite.expand.weight"][:16, :3],
        "squeeze_excite.expand.bias": shared["squeeze_excite.expand.bias"][:16],
        "project.weight": shared["project.weight"][:5, :16],
        "project_norm.weight": shared["project_norm.weight"][:5],
        "project_norm.bias": shared["project_norm.bias"][:5],
    }
    assert slices.keys() == expected.keys()
    assert all(torch.equal(slices[name], expected[name]) for name in expected)


@pytest.mark.parametrize("spec", [LARGEST, SMALLER])
def test_forward_equals_the_plain_module_on_the_slices(spec):
    layer, module = random_layer(LARGEST), layer_module(spec).train()
    module.load_state_dict(layer.slice(spec), strict=False)
    shape = spec.inputs[0].shape
    inputs = torch.randn(8, *shape, generator=torch.Generator().manual_seed(1))
    before = inputs.clone()
    with torch.no_grad():
        torch.testing.assert_close(layer(spec, inputs), module(inputs), rtol=0, atol=1e-5)
    assert torch.equal(inputs, before)  # activations in place never reach the input


def test_norms_use_the_batch_in_either_mode():
    layer = random_layer(LARGEST)
    inputs = torch.randn(8, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        trained = layer.train()(SMALLER, inputs)
        evaluated = layer.eval()(SMALLER, inputs)
        assert torch.equal(trained, evaluated)
        # of one batch, each channel leaves the last norm with its own shift as mean
        means = (trained - inputs).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, layer.shared.project_norm.bias[:5], rtol=0, atol=1e-4)
    assert not list(layer.buffers())

import copy
import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import fx, nn

from search_spaces import LayerSpec, TensorSpec
from search_spaces.elastic import ELASTIC_LAYERS, ElasticLayer
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import layer_module, parameter_shapes
from search_spaces.layer_slot import Network, NetworkLayer
from search_spaces.layer_spec import BYTES_PER_ELEMENT
from search_spaces.supernet import assemble
from tests.contracts.inputs import random_inputs
from tests.contracts.onnx_parity import assert_same_in_onnx, with_statistics
from tests.contracts.supernet_contract import flat_gradient, joined, randomise, taken
from tests.contracts.traced_costs import counted_macs, counted_params, peak_activation_bytes

BATCH = 8  # the least batch whose statistics are worth comparing


def input_specs(spec: LayerSpec) -> dict[str, TensorSpec]:
    """What a layer reads, by name."""
    return {f"input{i}": one for i, one in enumerate(spec.inputs, start=1)}


def alone(spec: LayerSpec, module: nn.Module, kept: Sequence[int] = ()) -> fx.GraphModule:
    """The network of one layer; inputs in `kept` are outputs too, so they stay to the end."""
    names = tuple(input_specs(spec))
    outputs = {"output": "layer", **{names[i]: names[i] for i in kept}}
    network = Network(input_specs(spec), (NetworkLayer("layer", spec, names),), outputs)
    return assemble(network, {"layer": module})


def inputs_of(spec: LayerSpec, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Normal numbers, ids where the kind has a vocabulary, else masks of at least one token."""
    return random_inputs(input_specs(spec), batch, seed, spec.values.get("vocabulary", 0))


def elastic_layer(specs: Sequence[LayerSpec]) -> ElasticLayer:
    """The shared weights of a slot that holds these specs, as the supernet makes them."""
    return ELASTIC_LAYERS.get(specs[0].kind, ElasticLayer)(specs)


def extracted(layer: ElasticLayer, spec: LayerSpec) -> nn.Module:
    """The plain module of a spec with copies of its weights, as extraction makes it."""
    module = layer_module(spec)
    with torch.no_grad():
        weights = layer.slice(spec)
        assert list(weights) == [name for name, _ in module.named_parameters()]
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[name])
    return module


def positions(layer: ElasticLayer, spec: LayerSpec) -> torch.Tensor:
    """Positions, among all shared numbers laid end to end, that a spec takes, in the order of its
    own numbers: found by slicing weights that hold their own positions.
    """
    tagged, start = copy.deepcopy(layer), 0
    with torch.no_grad():
        for parameter in tagged.parameters():
            tags = torch.arange(start, start + parameter.numel(), dtype=torch.float32)
            parameter.copy_(tags.reshape(parameter.shape))
            start += parameter.numel()
        numbers = [weight.flatten().long() for weight in tagged.slice(spec).values()]
    return torch.cat(numbers) if numbers else torch.zeros(0, dtype=torch.long)


def assert_formulas_equal_counts(spec: LayerSpec) -> None:
    """Compare what the formulas of a spec say with what its plain module does, whichever of its
    first two inputs are read again later.
    """
    kind, inputs = LAYER_KINDS[spec.kind], inputs_of(spec, 1, seed=0)
    module = layer_module(spec).eval()
    for kept in itertools.product((False, True), repeat=min(2, len(inputs))):
        network = alone(spec, module, [i for i, stays in enumerate(kept) if stays])
        computed = kind.peak_elements(spec.values, (*kept, False)[:2]) * BYTES_PER_ELEMENT
        assert int(computed) == peak_activation_bytes(network, *inputs), (spec, kept)
    network = alone(spec, module)
    with torch.no_grad():
        (output,) = network(*inputs)
    computed = (kind.macs, kind.num_params, kind.output_elements)
    counted = (counted_macs(network, *inputs), counted_params(module), output.numel())
    assert tuple(int(formula(spec.values)) for formula in computed) == counted, spec


class ElasticContract:
    """What every kind of layer promises: formulas, plain module, sharing and ONNX agree.

    A subclass has a fixture `specs`: some layers of one kind that one slot could hold, the smallest
    first and the largest last.
    """

    has_buffers = False  # orders of channels, and statistics that a trained network came with

    @pytest.fixture
    def layer(self, specs) -> ElasticLayer:
        """The shared weights, random."""
        layer = elastic_layer(specs)
        randomise(layer, seed=0)
        return layer

    def test_specs_say_something(self, specs):
        assert len(set(specs)) == len(specs) >= 2
        assert len({spec.kind for spec in specs}) == 1

    # --- equal answers ----------------------------------------------------------------------------

    def test_extracted_module_equals_the_elastic_layer(self, layer, specs):
        for seed, spec in enumerate(specs):
            inputs = inputs_of(spec, BATCH, seed)
            with torch.no_grad():
                expected = joined(layer(spec, *inputs))
                outputs = joined(alone(spec, extracted(layer, spec)).train()(*inputs))
            assert outputs.shape == (BATCH, LAYER_KINDS[spec.kind].output_elements(spec.values))
            assert expected.std(dim=0).mean() > 1e-3, "outputs that ignore the inputs prove nothing"
            assert (outputs - expected).abs().max() <= 1e-6 * expected.abs().max()

    def test_norms_use_the_batch_in_either_mode(self, layer, specs):
        inputs = inputs_of(specs[-1], BATCH, seed=0)
        with torch.no_grad():
            assert torch.equal(layer.train()(specs[-1], *inputs), layer.eval()(specs[-1], *inputs))
        assert bool(list(layer.buffers())) == self.has_buffers

    def test_inputs_are_not_written_over(self, layer, specs):
        for spec in specs:
            inputs = inputs_of(spec, BATCH, seed=0)
            before = [tensor.clone() for tensor in inputs]
            network = alone(spec, extracted(layer, spec))
            with torch.no_grad():
                layer(spec, *inputs)
                network.train()(*inputs)
                network.eval()(*inputs)
            assert all(map(torch.equal, inputs, before)), spec

    # --- sharing ----------------------------------------------------------------------------------

    def test_gradients_reach_exactly_the_slice(self, layer, specs):
        for spec in specs:
            taken_positions = positions(layer, spec)
            inside = taken(layer, taken_positions)
            assert inside.sum() == len(taken_positions), "a shared number is taken twice"
            if not len(taken_positions):
                continue
            module, inputs = extracted(layer, spec).train(), inputs_of(spec, BATCH, seed=0)
            layer.zero_grad()
            for outputs in (joined(layer(spec, *inputs)), joined(module(*inputs))):
                weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
                (outputs * weights).sum().backward()
            gradient, expected = flat_gradient(layer), flat_gradient(module)
            assert (expected != 0).any()
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                gradient[taken_positions], expected, rtol=1e-3, atol=1e-5 * scale
            )
            assert not gradient[~inside].any()

    def test_the_largest_spec_holds_the_weights_of_the_others(self, layer, specs):
        *others, largest = specs
        held = taken(layer, positions(layer, largest))
        for spec in others:
            if parameter_shapes(spec).keys() <= parameter_shapes(largest).keys():
                found = positions(layer, spec)
                assert held[found].all(), spec

    def test_a_spec_takes_its_numbers_in_their_order(self, layer, specs):
        """Which number is which channel may not depend on the order of the others."""
        for spec in specs:
            for name, weight in layer.slice(spec).items():
                assert tuple(weight.shape) == parameter_shapes(spec)[name]
            found = positions(layer, spec)
            for part in found.split([int(np.prod(s)) for s in parameter_shapes(spec).values()]):
                assert (part.diff() > 0).all(), spec

    # --- costs ------------------------------------------------------------------------------------

    def test_costs_are_those_of_the_module(self, specs):
        for spec in specs:
            assert_formulas_equal_counts(spec)

    def test_formulas_on_arrays_equal_formulas_on_numbers(self, specs):
        kind = LAYER_KINDS[specs[0].kind]
        columns = {name: np.array([spec[name] for spec in specs]) for name in kind.fields}
        kept = np.arange(len(specs)) % 2 == 0
        for formula in (kind.macs, kind.num_params, kind.output_elements):
            expected = [int(formula(spec.values)) for spec in specs]
            assert np.broadcast_to(formula(columns), len(specs)).tolist() == expected
        peaks = kind.peak_elements(columns, (kept, ~kept))
        assert np.broadcast_to(peaks, len(specs)).tolist() == [
            int(kind.peak_elements(spec.values, (bool(stays), not stays)))
            for spec, stays in zip(specs, kept, strict=True)
        ]

    # --- ONNX -------------------------------------------------------------------------------------

    def test_onnx_computes_the_same(self, layer, specs):
        for spec in specs:
            draw = partial(inputs_of, spec)
            network = with_statistics(alone(spec, extracted(layer, spec)), draw)
            assert_same_in_onnx(network, input_specs(spec), draw, ["output"])

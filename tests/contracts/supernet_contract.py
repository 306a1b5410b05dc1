import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import fx, nn

from search_spaces import Architecture, InputError, SearchSpace
from search_spaces.layer_modules.batch_norm import BatchNorm
from search_spaces.supernet import Supernet, resize
from tests.contracts.inputs import random_inputs
from tests.contracts.onnx_parity import assert_same_in_onnx, with_statistics
from tests.contracts.traced_costs import traced_costs

BATCH = 8  # the least batch whose statistics are worth comparing


def randomise(module: nn.Module, seed: int) -> None:
    """Draw all weights and biases, those of norms too: ones and zeros would hide faults."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            else:
                parameter.uniform_(-0.5, 1.5, generator=generator)


def batch_of(
    supernet: Supernet, architecture: Architecture, batch: int, seed: int
) -> tuple[torch.Tensor, ...]:
    """Random inputs of the architecture: normal numbers, token ids, masks that hide some tokens."""
    vocabulary = supernet.space.settings.get("vocabulary", 0)
    return random_inputs(supernet.inputs(architecture), batch, seed, vocabulary)


def joined(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """All outputs of a network side by side, b x numbers."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.cat([output.flatten(1) for output in several], dim=1)


def shared_positions(supernet: Supernet, architecture: Architecture) -> torch.Tensor:
    """Positions, among all shared numbers laid end to end, that a subnet takes: found by writing
    every number's own position into it and reading the extracted copy, in parameter order.
    """
    tagged, start = copy.deepcopy(supernet), 0
    with torch.no_grad():
        for parameter in tagged.parameters():
            tags = torch.arange(start, start + parameter.numel(), dtype=torch.float32)
            parameter.copy_(tags.reshape(parameter.shape))
            start += parameter.numel()
    assert start < 2**24, "float32 cannot count further"
    return torch.cat(
        [p.detach().flatten().long() for p in tagged.extract(architecture).parameters()]
    )


def taken(supernet: Supernet, positions: torch.Tensor) -> torch.Tensor:
    """Which of all shared numbers are among `positions`, as bools."""
    mask = torch.zeros(sum(p.numel() for p in supernet.parameters()), dtype=torch.bool)
    mask[positions] = True
    return mask


def flat_gradient(module: nn.Module) -> torch.Tensor:
    """Gradients of all parameters laid end to end, zeros where none came."""
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.parameters()]
    )


class SupernetContract:
    """What every supernet promises.

    A subclass has a fixture `space`; it may override `population` (a large family: fewer or smaller
    architectures) and what is said here of its networks.
    """

    has_batch_norms = True
    has_buffers = False  # orders of channels, and statistics that a trained network came with
    least_spread = 1e-2  # of outputs over a batch: those that ignore the inputs prove nothing
    least_share_with_gradient = 0.5  # of the numbers of a subnet: unread tokens get none

    @pytest.fixture
    def supernet(self, space: SearchSpace) -> Supernet:
        """The supernet of the space."""
        return Supernet(space)

    @pytest.fixture
    def population(self, space: SearchSpace) -> np.ndarray:
        """Genomes to try, `n x d`, the smallest first and the largest second."""
        random = space.sample(4, np.random.default_rng(0))
        return np.concatenate([space.smallest(), space.largest(), random])

    @pytest.fixture
    def architectures(self, space, supernet, population) -> list[Architecture]:
        """The architectures of `population`, on a supernet of random weights."""
        randomise(supernet, seed=0)
        return [space.decode(genome) for genome in population]

    # --- equal answers ----------------------------------------------------------------------------

    def test_extracted_subnet_equals_supernet(self, supernet, architectures):
        for seed, architecture in enumerate(architectures):
            subnet = supernet.extract(architecture).train()
            inputs = batch_of(supernet, architecture, BATCH, seed)
            with torch.no_grad():
                expected = joined(supernet(inputs, architecture))
                outputs = joined(subnet(*inputs))
            assert outputs.shape == expected.shape
            assert expected.std(dim=0).mean() > self.least_spread
            assert (outputs - expected).abs().max() <= 1e-5

    def test_supernet_holds_no_hidden_state(self, supernet, architectures):
        first, other = architectures[0], architectures[1]
        inputs = batch_of(supernet, first, BATCH, seed=0)
        before = copy.deepcopy(supernet.state_dict())
        with torch.no_grad():
            expected = joined(supernet(inputs, first))
            supernet(batch_of(supernet, other, BATCH, seed=1), other)
            assert torch.equal(joined(supernet(inputs, first)), expected)
            supernet.eval()  # norms use the batch in either mode
            assert torch.equal(joined(supernet(inputs, first)), expected)
        assert bool(list(supernet.buffers())) == self.has_buffers
        after = supernet.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_architectures_answer_differently(self, supernet, architectures):
        shape = supernet.inputs(architectures[0])
        same_inputs = [a for a in architectures if supernet.inputs(a) == shape]
        inputs = batch_of(supernet, architectures[0], BATCH, seed=0)
        with torch.no_grad():
            outputs = [joined(supernet(inputs, architecture)) for architecture in same_inputs]
        for i, first in enumerate(outputs):
            assert all((first - second).abs().max() > 1e-3 for second in outputs[:i])

    # --- costs ------------------------------------------------------------------------------------

    def test_costs_are_those_of_the_extracted_subnet(self, space, supernet, architectures):
        costs = space.layers.costs(space.encode_all(architectures))
        for i, architecture in enumerate(architectures):
            subnet = supernet.extract(architecture).eval()
            inputs = batch_of(supernet, architecture, batch=1, seed=0)
            assert costs.row(i) == traced_costs(subnet, *inputs)

    def test_layers_are_those_of_the_space(self, space, supernet, architectures):
        for architecture in architectures:
            expected = [spec for _, spec in space.layers.layers(space.encode(architecture))]
            assert supernet.layers(architecture) == expected

    # --- sharing ----------------------------------------------------------------------------------

    def test_gradients_reach_exactly_the_slice(self, supernet, architectures):
        for architecture in architectures[:3]:
            positions = shared_positions(supernet, architecture)
            inside = taken(supernet, positions)
            assert inside.sum() == len(positions), "a shared number is taken twice"
            subnet = supernet.extract(architecture).train()
            inputs = batch_of(supernet, architecture, BATCH, seed=0)
            supernet.zero_grad()
            for module, outputs in (
                (supernet, joined(supernet(inputs, architecture))),
                (subnet, joined(subnet(*inputs))),
            ):
                weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
                (outputs * weights).sum().backward()
                assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
            gradient, expected = flat_gradient(supernet), flat_gradient(subnet)
            assert (expected != 0).float().mean() > self.least_share_with_gradient
            torch.testing.assert_close(
                gradient[positions], expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())
            )
            assert not gradient[~inside].any()

    def test_largest_covers_all(self, supernet, architectures):
        smallest, largest, *others = (
            shared_positions(supernet, architecture) for architecture in architectures
        )
        assert len(smallest) < len(largest)
        covered = taken(supernet, largest)
        assert all(covered[part].all() for part in (smallest, *others))

    def test_extracted_subnet_owns_its_weights(self, supernet, architectures):
        architecture = architectures[-1]
        subnet = supernet.extract(architecture)
        before = copy.deepcopy(supernet.state_dict())
        with torch.no_grad():
            for parameter in subnet.parameters():
                assert parameter.is_leaf
                assert parameter.requires_grad
                parameter.add_(1.0)
        assert all(
            torch.equal(value, before[name]) for name, value in supernet.state_dict().items()
        )
        kept = copy.deepcopy(subnet.state_dict())
        with torch.no_grad():
            for parameter in supernet.parameters():
                parameter.zero_()
        assert all(torch.equal(value, kept[name]) for name, value in subnet.state_dict().items())

    # --- what leaves ------------------------------------------------------------------------------

    def test_extracted_subnet_is_made_of_torch_alone(self, supernet, architectures):
        for architecture in architectures:
            subnet = supernet.extract(architecture)
            assert isinstance(subnet, fx.GraphModule)
            modules = [module.__class__.__module__ for module in subnet.modules()]
            assert all(name.split(".")[0] == "torch" for name in modules)
            functions = {n.target for n in subnet.graph.nodes if n.op == "call_function"}
            names = {getattr(function, "__module__", None) or "torch" for function in functions}
            assert {name.split(".")[0] for name in names} <= {"torch", "_operator"}

    def test_extracted_norms_have_empty_statistics(self, supernet, architectures):
        with torch.no_grad():  # a supernet that has run gives no statistics away
            supernet(batch_of(supernet, architectures[0], BATCH, seed=0), architectures[0])
        subnet = supernet.extract(architectures[0])
        norms = [module for module in subnet.modules() if isinstance(module, BatchNorm)]
        assert bool(norms) == self.has_batch_norms
        for norm in norms:
            assert norm.track_running_stats
            if self.has_buffers:  # as the network had them
                continue
            assert not norm.running_mean.any()
            assert (norm.running_var == 1).all()
            assert norm.num_batches_tracked == 0

    def test_onnx_file_computes_the_same(self, space, supernet, architectures):
        for architecture in architectures[:3]:
            draw = partial(batch_of, supernet, architecture)
            subnet = with_statistics(supernet.extract(architecture), draw)
            assert_same_in_onnx(subnet, supernet.inputs(architecture), draw, space.outputs)

    # --- inputs -----------------------------------------------------------------------------------

    def test_inputs_follow_the_architecture(self, space, supernet, population):
        position = {dimension.name: i for i, dimension in enumerate(space.dimensions)}
        genome = population[0].copy()
        options = (
            space.dimensions[position["resolution"]].options if "resolution" in position else ()
        )
        for i, resolution in enumerate(options):
            genome[position["resolution"]] = i
            (_, height, width) = supernet.inputs(space.decode(genome))["input"].shape
            assert (height, width) == (resolution, resolution)
        architecture = space.decode(population[0])
        first_layer = supernet.layers(architecture)[0]
        inputs = supernet.inputs(architecture)
        assert tuple(inputs) == space.inputs
        assert inputs[space.inputs[0]] == first_layer.inputs[0]

    def test_resized_images_fit_every_architecture(self, space, supernet, architectures):
        if space.modality != "image":
            return
        (channels, *_) = supernet.inputs(architectures[0])["input"].shape
        batch = torch.rand(BATCH, channels, 21, 19, generator=torch.Generator().manual_seed(0))
        for architecture in architectures:
            specs = supernet.inputs(architecture)
            (resized,) = resize((batch,), specs.values())
            assert resized.shape == (BATCH, *specs["input"].shape)
            with torch.no_grad():
                assert joined(supernet(resized, architecture)).isfinite().all()

    def test_inputs_of_another_size_are_refused(self, supernet, architectures):
        good = batch_of(supernet, architectures[0], BATCH, seed=0)
        for i, tensor in enumerate(good):
            bad = torch.cat([tensor, tensor], dim=1)  # twice the channels, features or tokens
            with pytest.raises(InputError, match="takes"):
                supernet((*good[:i], bad, *good[i + 1 :]), architectures[0])
        with pytest.raises(InputError, match="takes"):
            supernet((*good, good[0]), architectures[0])

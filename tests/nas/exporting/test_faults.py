"""Planted faults: what the gate must never let through, whatever the file says of itself."""

import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from nas.exporting.folder import preprocessing_of
from nas.exporting.gate import check_file, check_parity, check_preprocessing, check_state
from nas.exporting.in_memory import to_onnx
from nas.exporting.manifest import ImagePreprocessing
from nas.exporting.model_file import make_file
from nas.exporting.model_options import PLAIN, ModelOptions
from nas.exporting.parity import ParityError
from nas.exporting.trial import Trial
from nas.subnet.calibrate import batch_norms

PIXELS = ModelOptions(preprocessing="graph")


@pytest.fixture
def trial(in_memory, evaluator):
    return Trial(in_memory, evaluator)


def emitted(in_memory, subnet) -> bytes:
    """The file of another subnet under the same name."""
    return to_onnx(subnet, in_memory.architecture, in_memory.inputs).model


def steps_of(bars, in_memory, **changes) -> ImagePreprocessing:
    return preprocessing_of(bars, in_memory).model_copy(update=changes)


def pixels_file(trial, steps) -> bytes:
    size = trial.raw.inputs[0].shape[2:]
    return make_file(trial.exported.model, PIXELS, steps, size)[0]


def test_without_faults_everything_passes(trial, supernet, evaluator, bars, in_memory):
    assert check_parity(in_memory, supernet, evaluator)
    check_preprocessing(trial, steps_of(bars, in_memory))
    found = check_file(pixels_file(trial, steps_of(bars, in_memory)), PIXELS, trial)
    assert found.random.n == 160
    assert found.accuracy_difference == 0
    assert set(found.parities) == {"model.pixels.onnx batch 1", "model.pixels.onnx batch 64"}


# --- wrong slice ----------------------------------------------------------------------------------


def sliced_elsewhere(subnet):
    """The same shapes, but channels that the architecture does not have."""
    wrong = copy.deepcopy(subnet)
    with torch.no_grad():
        for layer in wrong.modules():
            if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.out_channels > 8:
                layer.weight.copy_(layer.weight.roll(1, dims=0))
    return wrong


def test_a_file_of_other_channels_is_caught(trial, in_memory):
    with pytest.raises(ParityError, match=r"^model\.onnx"):
        check_file(emitted(in_memory, sliced_elsewhere(in_memory.subnet)), PLAIN, trial)


def test_a_subnet_of_other_channels_is_caught_though_its_file_equals_it(
    in_memory, supernet, evaluator
):
    wrong = sliced_elsewhere(in_memory.subnet)
    exported = replace(in_memory, subnet=wrong, model=emitted(in_memory, wrong))
    with pytest.raises(ParityError, match=r"^supernet"):
        check_parity(exported, supernet, evaluator)


def test_a_subnet_of_another_architecture_is_caught(in_memory, supernet, evaluator, space):
    other = evaluator.subnet(space.decode(space.smallest()[0]))
    with pytest.raises(ParityError, match="channels"):
        check_state(other, in_memory.subnet)


# --- norms that were not calibrated ---------------------------------------------------------------


def uncalibrated(subnet):
    wrong = copy.deepcopy(subnet)
    for norm in batch_norms(wrong):
        norm.reset_running_stats()
    return wrong


def test_a_file_of_a_subnet_that_was_not_calibrated_is_caught(trial, in_memory):
    with pytest.raises(ParityError, match=r"^model\.onnx"):
        check_file(emitted(in_memory, uncalibrated(in_memory.subnet)), PLAIN, trial)


def test_a_subnet_that_was_not_calibrated_is_caught_though_its_file_equals_it(
    in_memory, supernet, evaluator
):
    """Against the supernet both are on the statistics of one batch, where this does not show."""
    wrong = uncalibrated(in_memory.subnet)
    exported = replace(in_memory, subnet=wrong, model=emitted(in_memory, wrong))
    with pytest.raises(ParityError, match="statistics"):
        check_parity(exported, supernet, evaluator)


# --- swapped classes ------------------------------------------------------------------------------


def test_swapped_classes_are_caught(trial, in_memory):
    wrong = copy.deepcopy(in_memory.subnet)
    last = [layer for layer in wrong.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.copy_(last.weight[[1, 0, 2, 3]])
    with pytest.raises(ParityError, match=r"^model\.onnx.*top-1"):
        check_file(emitted(in_memory, wrong), PLAIN, trial)


# --- another mean or deviation --------------------------------------------------------------------


WRONG_STEPS = {
    "mean": {"mean": (0.31,)},
    "deviation": {"std": (0.2,)},
    "height": {"height": 9},
}


@pytest.mark.parametrize("changes", WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_a_manifest_that_prepares_otherwise_is_caught(trial, bars, in_memory, changes):
    model = preprocessing_of(bars, in_memory)
    if "height" in changes:
        small = {"input": replace(in_memory.inputs["input"], shape=(1, 9, 9))}
        trial = Trial(replace(in_memory, inputs=small), trial.evaluator)
    with pytest.raises(ParityError, match=r"^preprocessing"):
        check_preprocessing(trial, model.model_copy(update=changes))


@pytest.mark.parametrize("changes", [{"mean": (0.32,)}, {"std": (0.2,)}], ids=["mean", "std"])
def test_a_graph_that_prepares_otherwise_is_caught(trial, bars, in_memory, changes):
    with pytest.raises(ParityError, match=r"^model\.pixels\.onnx"):
        check_file(pixels_file(trial, steps_of(bars, in_memory, **changes)), PIXELS, trial)


# --- stale weights --------------------------------------------------------------------------------


def trained_on(supernet) -> None:
    """A step later: what an earlier checkpoint's weights have become."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def test_a_file_from_an_earlier_checkpoint_is_caught(in_memory, supernet, evaluator, architecture):
    stale = in_memory.model
    trained_on(supernet)
    exported = replace(in_memory, subnet=evaluator.subnet(architecture), model=stale)
    with pytest.raises(ParityError, match=r"^model\.onnx"):
        check_parity(exported, supernet, evaluator)


def test_a_subnet_from_an_earlier_checkpoint_is_caught(in_memory, supernet, evaluator):
    trained_on(supernet)
    with pytest.raises(ParityError, match=r"^supernet"):
        check_parity(in_memory, supernet, evaluator)
    with pytest.raises(ParityError, match="weights"):
        check_state(in_memory.subnet, evaluator.subnet(in_memory.architecture))


# --- what only random inputs show -----------------------------------------------------------------


def test_a_file_that_errs_beyond_the_data_alone_is_caught(trial, in_memory):
    """A bound on the input that no sample reaches."""
    model = onnx.load_from_string(in_memory.model)
    (images,) = trial.inputs
    bounds = np.array([float(images.min()) - 0.01, float(images.max()) + 0.01], np.float32)
    for node in model.graph.node:
        node.input[:] = ["bounded" if name == "input" else name for name in node.input]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name)
        for value, name in zip(bounds, ("least", "most"), strict=True)
    )
    model.graph.node.insert(
        0, onnx.helper.make_node("Clip", ["input", "least", "most"], ["bounded"])
    )
    with pytest.raises(ParityError, match=r"^model\.onnx on random inputs"):
        check_file(model.SerializeToString(), PLAIN, trial)

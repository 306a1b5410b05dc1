"""A new run is tried out before anything of it is written: does a batch pass to its loss?"""

import torch

from nas.config import Recipe
from nas.data import Dataset, check_augmentation, input_tensors
from nas.data.dataset import NOUNS
from nas.task import Outputs, Task, as_tuple
from search_spaces import InputError, SearchSpace
from search_spaces.layer_modules import layer_module
from search_spaces.python_name import in_one_line
from search_spaces.supernet import assemble, check_inputs, resize

NUM_SAMPLES = 8


def try_out(recipe: Recipe, space: SearchSpace, data: Dataset, task: Task) -> None:
    """Run the smallest architecture, untrained, on a few samples, as training will.

    Raises:
        InputError: layers that cannot be made or do not fit each other, other inputs than the
            data's, outputs that the task cannot judge, or augmentation that targets do not follow.
    """
    name = recipe.space.name
    check_augmentation(data, recipe.training)
    given = data.train.inputs
    if len(space.inputs) != len(given):
        raise InputError(
            f"{name} has the inputs {', '.join(space.inputs)}; {NOUNS[data.modality]} give "
            f"{len(given)}{' (ids and mask)' if data.modality == 'tokens' else ''}"
        )
    task.check_space(space)
    outputs = _outputs(name, space, data)
    targets = torch.from_numpy(data.train.targets[:NUM_SAMPLES].copy())
    if task.classification:
        (logits,) = as_tuple(outputs)
        if logits.ndim != 2 or logits.shape[1] < data.num_classes:
            raise InputError(
                f"{name}: expected an output {len(targets)} x {data.num_classes} classes for "
                f"{len(targets)} samples, got {tuple(logits.shape)}"
            )
    task.training_loss(outputs, targets)


def _outputs(name: str, space: SearchSpace, data: Dataset) -> Outputs:
    with torch.random.fork_rng(devices=[]):
        try:
            network = space.layers.network(space.smallest())
            inputs = resize(
                input_tensors(data, data.train, slice(NUM_SAMPLES)), network.inputs.values()
            )
            check_inputs(network.inputs, inputs, "it")
            modules = {layer.name: layer_module(layer.spec) for layer in network.layers}
            outputs: Outputs = assemble(network, modules).train()(*inputs)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception as error:
            raise InputError(
                f"{name}: the smallest architecture does not take a batch of {NOUNS[data.modality]}"
                f": {in_one_line(error)}"
            ) from error
    return outputs

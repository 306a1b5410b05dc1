"""What networks of tests are fed with."""

from collections.abc import Mapping

import torch

from search_spaces import TensorSpec


def one_input(*shape: int) -> dict[str, TensorSpec]:
    """What a network of one float input takes."""
    return {"input": TensorSpec(shape)}


def random_inputs(
    specs: Mapping[str, TensorSpec], batch: int, seed: int, vocabulary: int = 0
) -> tuple[torch.Tensor, ...]:
    """Draw a batch of every input: normal numbers; of whole numbers, the first are token ids if
    there is a vocabulary, all others masks that leave at least one token.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for spec in specs.values():
        shape = (batch, *spec.shape)
        if spec.dtype == "float32":
            inputs.append(torch.randn(shape, generator=generator))
        elif vocabulary:
            inputs.append(torch.randint(0, vocabulary, shape, generator=generator))
            vocabulary = 0
        else:
            lengths = torch.randint(1, 1 + spec.shape[0], (batch, 1), generator=generator)
            inputs.append((torch.arange(spec.shape[0]) < lengths).long())
    return tuple(inputs)


def random_images(batch: int, seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor]:
    """Draw images of different brightness and contrast: b x c x h x w."""
    generator = torch.Generator().manual_seed(seed)
    contrast = 2 * torch.rand(batch, 1, 1, 1, generator=generator)
    brightness = torch.randn(batch, 1, 1, 1, generator=generator)
    return (contrast * torch.randn(batch, *shape, generator=generator) + brightness,)

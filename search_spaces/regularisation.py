"""What training drops at random."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Regularisation:
    """Probabilities with which a forward pass drops; what it keeps is scaled up, so that means
    stay.

    Args:
        generator: on the CPU, whatever the device of the network.
        drop_path: that a droppable layer loses its output, sample by sample (arXiv:1605.07648).
        dropout: that a feature is not read by the layer that gives the network's output
            (arXiv:1207.0580); of a map of features, a channel (arXiv:1411.4280): what a pool would
            then average.
    """

    generator: torch.Generator
    drop_path: float = 0.0
    dropout: float = 0.0

    def drop_paths(self, outputs: Tensor) -> Tensor:
        """Drop whole samples of the output of a droppable layer, b x ...."""
        return self._drop(outputs, self.drop_path, 1)

    def drop_features(self, inputs: Tensor) -> Tensor:
        """Drop from what the last layer reads: channels of b x c x h x w, else single numbers."""
        return self._drop(inputs, self.dropout, 2 if inputs.dim() == 4 else inputs.dim())

    def _drop(self, values: Tensor, probability: float, num_dimensions: int) -> Tensor:
        """Draw for each place of the first dimensions; nothing is drawn where nothing drops."""
        if probability == 0:
            return values
        ones = (1,) * (values.dim() - num_dimensions)
        shape = (*values.shape[:num_dimensions], *ones)
        mask = torch.rand(shape, generator=self.generator) < 1 - probability
        return values * (mask.to(values, non_blocking=True) / (1 - probability))

"""Networks from outside of the supernet that its subnets learn from."""

import torch
from torch import Tensor, nn

from nas.data import Dataset, Inputs
from search_spaces.layer_kind import TensorSpec
from search_spaces.supernet import resize


class Teacher(nn.Module):
    """A trained network with one output, in eval mode and without gradients.

    Args:
        name: as in the recipe.
        network: takes each of its inputs as an argument.
        sha256: of what it was made from; None where that has no file.
        specs: what it takes, to which images are resized; None where that is the data's own size.
        normalisation: factor and offset, each per channel or feature, that turn the data's
            normalised inputs into those that it was trained on.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        sha256: str | None = None,
        specs: tuple[TensorSpec, ...] | None = None,
        normalisation: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.sha256, self.specs = name, sha256, specs
        self.network = network
        self._factor: Tensor | None
        self._offset: Tensor | None
        factor, offset = normalisation or (None, None)
        self.register_buffer("_factor", factor)  # buffers move to the device with the weights
        self.register_buffer("_offset", offset)
        self.eval().requires_grad_(False)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the outputs of normalised inputs at the data's size, each `b x ...`."""
        with torch.no_grad():
            outputs: Tensor = self.network(*self.prepared(inputs))
            return outputs

    def prepared(self, inputs: Inputs) -> Inputs:
        """Return the data's normalised inputs as its network takes them."""
        return self._normalised(inputs if self.specs is None else resize(inputs, self.specs))

    def _normalised(self, inputs: Inputs) -> Inputs:
        if self._factor is None or self._offset is None:
            return inputs
        first, *others = inputs
        shape = (1, -1, *(1,) * (first.ndim - 2))
        return (first * self._factor.view(shape) + self._offset.view(shape), *others)


def normalisation_between(ours: Dataset, theirs: Dataset) -> tuple[Tensor, Tensor] | None:
    """Return factor and offset, per channel or feature, from one data set's inputs to another's.

    None where inputs are not normalised, or by the same numbers.
    """
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return None
    our_mean, our_std = (torch.tensor(one) for one in (ours.mean, ours.std))
    their_mean, their_std = (torch.tensor(one) for one in (theirs.mean, theirs.std))
    return our_std / their_std, (our_mean - their_mean) / their_std

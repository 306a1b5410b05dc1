"""Small kernels as learned maps of the centres of large ones."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.elastic.elastic_layer import ElasticLayer, leading_slice
from search_spaces.layer_spec import LayerSpec

TRANSFORMED = "depthwise.weight"


class KernelTransformLayer(ElasticLayer):
    """Inverted residuals whose smaller kernels are linear maps of the centres of larger ones
    (once-for-all, arXiv:1908.09791).

    A kernel of 3 is read from the 3 x 3 centre of the kernel of 5, itself mapped from the centre of
    the one of 7: k' = M vec(centre(k)), with one matrix `transform.from_7_to_5` (25 x 25) for all
    channels and architectures. They begin as identities, where this is the plain layer; extraction
    writes the mapped kernels, so subnets have no matrices.
    """

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        super().__init__(specs)
        kernels = sorted({spec["kernel"] for spec in specs}, reverse=True)
        self._steps = list(pairwise(kernels))
        self.transform = nn.Module()
        for large, small in self._steps:
            matrix = nn.Parameter(torch.eye(small**2))
            self.transform.register_parameter(_matrix_name(large, small), matrix)

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec`; kernels are mapped, and gradients pass through the maps."""
        weights = super().slice(spec)
        kernel = self.weight(TRANSFORMED)[: len(weights[TRANSFORMED])]
        for large, small in self._steps:
            if spec["kernel"] <= small:
                centre = leading_slice(kernel, (*kernel.shape[:2], small, small))
                matrix = self.transform.get_parameter(_matrix_name(large, small))
                kernel = F.linear(centre.flatten(1), matrix).view_as(centre)
        weights[TRANSFORMED] = kernel
        return weights


def _matrix_name(large: int, small: int) -> str:
    return f"from_{large}_to_{small}"


KERNEL_TRANSFORMS: dict[str, type[ElasticLayer]] = {"inverted_residual": KernelTransformLayer}
"""Kinds whose kernels may be mapped."""

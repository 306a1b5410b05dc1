"""The one place that says who shares what."""

from torch import Tensor, nn
from torch.func import functional_call

from search_spaces.layer_module import layer_module, layer_skeleton, parameter_shapes
from search_spaces.layer_spec import LayerSpec


def leading_slice(weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a view of `shape`: the first channels and features, and of kernels (dimension 2 on)
    the centre.
    """
    view = weights
    for dimension, (size, wanted) in enumerate(zip(weights.shape, shape, strict=True)):
        if wanted != size:
            view = view.narrow(dimension, (size - wanted) // 2 if dimension >= 2 else 0, wanted)
    return view


class ElasticLayer(nn.Module):
    """Shared weights of one slot; any spec up to the largest runs on slices of them.

    `slice` is the only sharing rule: `forward` runs the plain module of a spec on the slices,
    extraction copies them. A kind that shares otherwise subclasses and overrides `slice` alone.

    Args:
        largest: the spec with the greatest value of every size in the slot.
    """

    def __init__(self, largest: LayerSpec) -> None:
        super().__init__()
        self.largest = largest
        self.shared = layer_module(largest)
        for module in self.shared.modules():  # a supernet keeps no running statistics
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec` as views of the shared ones, by parameter name of the plain
        module.
        """
        return {
            name: leading_slice(self.shared.get_parameter(name), shape)
            for name, shape in parameter_shapes(spec).items()
        }

    def forward(self, inputs: Tensor, spec: LayerSpec) -> Tensor:
        """Run the layer of `spec`, norms on the statistics of this batch."""
        weights = self.slice(spec)
        outputs: Tensor = functional_call(
            layer_skeleton(spec), weights, (inputs,), tie_weights=False
        )
        return outputs

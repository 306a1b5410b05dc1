"""Global average pool and linear layers: the ends of image networks."""

from collections.abc import Callable

from torch import Tensor, nn

from search_spaces.layer_modules.activations import ACTIVATIONS
from search_spaces.layer_spec import LayerSpec


class Classifier(nn.Module):
    """Global average pool, hidden layer, logits: b x in x h x w -> b x classes.

    No hidden layer where `hidden_channels` is 0.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        source, hidden = spec["in_channels"], spec["hidden_channels"]
        self.hidden = nn.Linear(source, hidden, bias=False) if hidden else None
        self.activation = ACTIVATIONS[spec["activation"]](inplace=True)
        self.logits = nn.Linear(hidden or source, spec["num_classes"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer."""
        hidden = self.flatten(self.pool(inputs))
        if self.hidden is not None:
            hidden = self.activation(self.hidden(hidden))
        logits: Tensor = self.logits(hidden)
        return logits


CLASSIFIERS: dict[str, Callable[[LayerSpec], nn.Module]] = {"classifier": Classifier}

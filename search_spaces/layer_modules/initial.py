"""First values of weights."""

from torch import Tensor, nn

EMBEDDING_STD = 0.02  # of learned tokens and positions (arXiv:1810.04805)


def initialise(owner: nn.Module, name: str, weight: Tensor) -> None:
    """Fill a weight by the module that owns it, from torch's global generator.

    Convolutions by fan-out (arXiv:1502.01852), linear layers narrow, embeddings narrower, norms
    and biases so that they do nothing.
    """
    if name == "bias":
        nn.init.zeros_(weight)
    elif isinstance(owner, (nn.Conv1d, nn.Conv2d)):
        nn.init.kaiming_normal_(weight, mode="fan_out")
    elif isinstance(owner, nn.Linear):
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    elif weight.dim() == 1:  # norms
        nn.init.ones_(weight)
    else:
        nn.init.normal_(weight, std=EMBEDDING_STD)

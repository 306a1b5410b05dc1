"""Networks as a user brings them: `python:tests.nas.own_networks:...`."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from nas.config import load_recipe
from nas.data import input_tensors
from nas.run_directory import load_recipe_data

HERE = f"python:{__name__}"
MEAN, STD = 0.25, 0.5
"""What the network of digits was normalised by: other numbers than counting gives."""


class Digits(nn.Module):
    """A stem, two residual blocks and a classifier of ten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(self._block() for _ in range(2)))
        self.head = nn.Linear(16, 10)

    @staticmethod
    def _block() -> nn.Module:
        return Residual(
            nn.Conv2d(16, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 16, 3, padding=1),
            nn.BatchNorm2d(16),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Residual(nn.Sequential):
    """What it does is added to what it reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def digits() -> tuple[nn.Module, Tensor]:
    """A network of digits that knows them a little: trained for some steps."""
    recipe = load_recipe(None, [f"data.mean=[{MEAN}]", f"data.std=[{STD}]"])
    data = load_recipe_data(recipe)
    (images,) = input_tensors(data, data.train)
    targets = torch.as_tensor(data.train.targets)
    network = Digits()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    batches = torch.utils.data.DataLoader(TensorDataset(images, targets), 64, shuffle=True)
    for _ in range(3):
        for given, wanted in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(given), wanted).backward()
            optimizer.step()
    return network, images[:2]


def other_digits() -> tuple[nn.Module, Tensor]:
    """Another one of the same form."""
    return Digits(), torch.randn(2, 1, 8, 8)


def seven_classes() -> tuple[nn.Module, Tensor]:
    network = Digits()
    network.head = nn.Linear(16, 7)
    return network, torch.randn(2, 1, 8, 8)


def no_example() -> nn.Module:
    return Digits()


def nothing() -> None:
    """Return nothing, as a function that only trains would."""


def three_things() -> tuple[object, ...]:
    return Digits(), torch.randn(2, 1, 8, 8), "more"


def example_first() -> tuple[object, ...]:
    return torch.randn(2, 1, 8, 8), Digits()


def raising() -> None:
    raise RuntimeError("no weights here\nand more")

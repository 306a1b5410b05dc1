"""Accuracy of subnets by an ensemble of small networks that learn to rank."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding, Matrix
from predictors.predictor import Vector
from search_spaces import SearchSpace

MEMBERS, HIDDEN = 5, 24
STEPS, BATCH = 300, 64
LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.03
RANKING = 1.0  # weight of the ranking loss beside the squared error
CHUNK = 512  # rows at a time: keeps the hidden units in cache
MOST_COMBINED = 256  # combinations of options that share a row of a table


class MlpEnsembleAccuracy(LearnedAccuracy):
    """Five networks of one hidden layer, trained together on a pairwise ranking loss (RankNet:
    Burges et al., ICML 2005) and the squared error, which gives the ranking its scale.

    The first layer adds up a row for every option chosen, and costs and features times their
    weights. Each network leaves out a fifth of the subnets, from which the error is known.

    Args:
        space: what populations are of.
        seed: of folds, weights and batches.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        encodings = ("costs",) if space.slots else ()
        sizes = space.num_options.tolist()

        def learn(blocks: Blocks, targets: Vector, seed: int) -> _Ensemble:
            return _fit(blocks, targets, seed, sizes)

        super().__init__(space, learn, seed, features, ("genome", *encodings))


@dataclass(frozen=True)
class _Ensemble:
    """Trained networks, for inference without torch.

    Dimensions are taken together as far as their combinations are few: `radix` (`d x t`) turns
    genomes into one row number for each of t tables.
    """

    radix: Matrix
    tables: tuple[Matrix, ...]  # t of `combinations x units`
    weights: Matrix  # of costs and features, `k x units`
    bias: Vector
    output: Matrix  # `units x members`
    output_bias: Vector
    error: float
    held_out: Guess

    def predict(self, blocks: Blocks) -> Guess:
        columns = _columns(blocks)
        places = (blocks["genome"] @ self.radix).astype(np.intp)
        guesses = np.empty((len(places), MEMBERS))
        for start in range(0, len(places), CHUNK):
            chunk = slice(start, start + CHUNK)
            units = columns[chunk] @ self.weights + self.bias
            for table, rows in zip(self.tables, places[chunk].T, strict=True):
                units += table[rows]
            guesses[chunk] = np.maximum(units, 0.0, out=units) @ self.output + self.output_bias
        return guesses.mean(axis=1), np.hypot(self.error, guesses.std(axis=1))


def _columns(blocks: Blocks) -> Matrix:
    """Return the columns that are no genome, `n x k`."""
    return beside({name: block for name, block in blocks.items() if name != "genome"})


class _Networks(nn.Module):
    """All members side by side: unit u belongs to member u // HIDDEN."""

    def __init__(self, sizes: Sequence[int], num_columns: int, generator: torch.Generator) -> None:
        super().__init__()
        units = MEMBERS * HIDDEN

        def draw(fan_in: int, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) * max(fan_in, 1) ** -0.5)

        self.offsets = torch.tensor(np.cumsum([0, *sizes[:-1]]))
        self.rows = draw(len(sizes), sum(sizes), units)
        self.weights = draw(num_columns, num_columns, units)
        self.bias = nn.Parameter(torch.zeros(units))
        self.output = draw(HIDDEN, MEMBERS, HIDDEN)
        self.output_bias = nn.Parameter(torch.zeros(MEMBERS))

    def forward(self, genome: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return guesses, `n x members`, of `n x d` option indices and `n x k` columns."""
        chosen = functional.embedding_bag(genome + self.offsets, self.rows, mode="sum")
        hidden = functional.relu(chosen + columns @ self.weights + self.bias)
        return (hidden.view(-1, MEMBERS, HIDDEN) * self.output).sum(dim=2) + self.output_bias


def _fit(blocks: Blocks, targets: Vector, seed: int, sizes: Sequence[int]) -> _Ensemble:
    n = len(targets)
    genome = torch.from_numpy(blocks["genome"].astype(np.int64))
    columns = torch.from_numpy(_columns(blocks)).float()
    fold = np.random.default_rng(seed).permutation(n) % MEMBERS
    learns = torch.from_numpy(fold[:, None] != np.arange(MEMBERS)).float()
    generator = torch.Generator().manual_seed(seed)
    networks = _Networks(sizes, columns.shape[1], generator)
    _train(networks, genome, columns, torch.from_numpy(targets).float(), learns, generator)
    with torch.no_grad():
        held_out = _double(networks(genome, columns))[np.arange(n), fold]
    error = float(np.sqrt(np.mean((held_out - targets) ** 2)))
    radix, tables = _combined(_double(networks.rows), sizes)
    output = np.zeros((MEMBERS * HIDDEN, MEMBERS))
    output[np.arange(len(output)), np.arange(len(output)) // HIDDEN] = _double(
        networks.output
    ).ravel()
    return _Ensemble(
        radix,
        tables,
        _double(networks.weights),
        _double(networks.bias),
        output,
        _double(networks.output_bias),
        error,
        (held_out, np.full(n, error)),
    )


def _train(
    networks: _Networks,
    genome: torch.Tensor,
    columns: torch.Tensor,
    targets: torch.Tensor,
    learns: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Train on n subnets; `learns` (`n x members`) is 0 where a member leaves one out."""
    optimizer = torch.optim.AdamW(
        networks.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, foreach=True
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, STEPS)
    for _ in range(STEPS):
        picked = torch.randperm(len(targets), generator=generator)[:BATCH]
        guesses = networks(genome[picked], columns[picked])
        loss = _loss(guesses, targets[picked], learns[picked])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()


def _double(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().double().numpy()


def _loss(guesses: torch.Tensor, wanted: torch.Tensor, learns: torch.Tensor) -> torch.Tensor:
    """Return the members' squared and ranking errors of `n x members` guesses, averaged."""
    squares = ((guesses - wanted[:, None]) ** 2 * learns).sum() / learns.sum()
    order = torch.sign(wanted[:, None] - wanted)  # n x n
    pairs = learns[:, None] * learns * order.abs()[..., None]  # n x n x members
    apart = (guesses[:, None] - guesses) * order[..., None]
    ranking = (functional.softplus(-2 * apart) * pairs).sum() / pairs.sum().clamp(min=1)
    return squares + RANKING * ranking


def _combined(rows: Matrix, sizes: Sequence[int]) -> tuple[Matrix, tuple[Matrix, ...]]:
    """Add up the rows of neighbouring dimensions for all combinations of their options."""
    radix: list[Vector] = []
    tables: list[Matrix] = []
    start = 0
    for dimension, size in enumerate(sizes):
        part = rows[start : start + size]
        start += size
        if not tables or len(tables[-1]) * size > MOST_COMBINED:
            tables.append(np.zeros((1, rows.shape[1])))
            radix.append(np.zeros(len(sizes)))
        radix[-1][dimension] = len(tables[-1])
        tables[-1] = (tables[-1] + part[:, None]).reshape(-1, rows.shape[1])
    return np.stack(radix, axis=1), tuple(tables)

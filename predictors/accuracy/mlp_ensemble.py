"""Accuracy of subnets by an ensemble of small networks that learn to rank."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding, Matrix
from predictors.predictor import Vector
from search_spaces import SearchSpace

MEMBERS, HIDDEN = 5, 24
STEPS, BATCH = 400, 64
LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.03
RANKING = 1.0  # weight of the ranking loss beside the squared error
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
            return _train(blocks, targets, seed, sizes)

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
        units = _inputs(blocks) @ self.weights + self.bias
        places = (blocks["genome"] @ self.radix).astype(np.intp)
        for table, rows in zip(self.tables, places.T, strict=True):
            units += table[rows]
        guesses = np.maximum(units, 0.0, out=units) @ self.output + self.output_bias
        return guesses.mean(axis=1), np.hypot(self.error, guesses.std(axis=1))


def _inputs(blocks: Blocks) -> Matrix:
    """Return the columns that are no genome, `n x k`."""
    return beside({name: block for name, block in blocks.items() if name != "genome"})


def _train(blocks: Blocks, targets: Vector, seed: int, sizes: list[int]) -> _Ensemble:
    n = len(targets)
    genome = torch.from_numpy(blocks["genome"].astype(np.int64))
    offsets = torch.tensor(np.cumsum([0, *sizes[:-1]]))
    columns = torch.from_numpy(_inputs(blocks)).float()
    wanted = torch.from_numpy(targets).float()
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(n) % min(MEMBERS, n))
    learns = (fold[:, None] != torch.arange(MEMBERS)).float()  # n x members
    generator = torch.Generator().manual_seed(seed)
    units = MEMBERS * HIDDEN

    def draw(*shape: int, scale: float) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * scale).requires_grad_()

    rows = draw(sum(sizes), units, scale=len(sizes) ** -0.5)
    weights = draw(columns.shape[1], units, scale=max(columns.shape[1], 1) ** -0.5)
    bias = draw(units, scale=0.1)
    output = draw(MEMBERS, HIDDEN, scale=HIDDEN**-0.5)
    output_bias = torch.zeros(MEMBERS, requires_grad=True)

    def guess(picked: torch.Tensor) -> torch.Tensor:
        chosen = functional.embedding_bag(genome[picked] + offsets, rows, mode="sum")
        hidden = functional.relu(chosen + columns[picked] @ weights + bias)
        return (hidden.view(-1, MEMBERS, HIDDEN) * output).sum(dim=2) + output_bias

    optimizer = torch.optim.AdamW(
        [rows, weights, bias, output, output_bias], LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, STEPS)
    for _ in range(STEPS):
        picked = torch.randperm(n, generator=generator)[:BATCH]
        loss = _loss(guess(picked), wanted[picked], learns[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        left_out = guess(torch.arange(n))[torch.arange(n), fold].double().numpy()
    error = float(np.sqrt(np.mean((left_out - targets) ** 2)))
    radix, tables = _combined(_double(rows), sizes)
    spread = np.zeros((units, MEMBERS))
    spread[np.arange(units), np.arange(units) // HIDDEN] = _double(output).ravel()
    return _Ensemble(
        radix, tables, _double(weights), _double(bias), spread, _double(output_bias),
        error, (left_out, np.full(n, error)),
    )  # fmt: skip


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


def _combined(rows: Matrix, sizes: list[int]) -> tuple[Matrix, tuple[Matrix, ...]]:
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

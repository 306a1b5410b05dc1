"""Zero-cost proxies of subnets on a run's data: each is computed once and logged at once."""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from torch import nn

from hardware_profiles.artifact import Frozen
from nas.append_log import AppendLog
from nas.data import Dataset, input_tensors
from nas.progress import progress_bar
from nas.subnet.sample import ArchitectureValues
from nas.task import Task
from nas.training.batches import target_tensor
from predictors.encodings import Encoding, Matrix
from predictors.zero_cost import Batch, Probe, fresh_network, proxy_score
from search_spaces import Architecture, InputError, Population, SearchSpace
from search_spaces.supernet import Supernet, resize

BATCH_SIZE = 64
FIRST_WEIGHTS = "first"


class ProxyScore(Frozen):
    """One line of the log."""

    architecture_id: str
    values: ArchitectureValues
    proxy: str
    weights: str  # "first", or the SHA-256 of the supernet whose weights it had
    seed: int
    batch_sha256: str
    score: float
    seconds: float


def drawn_batch(data: Dataset, task: Task, seed: int, size: int = BATCH_SIZE) -> Batch:
    """Draw training samples, at their own size and without augmentation."""
    index = np.random.default_rng([seed, 0x0C057]).permutation(len(data.train))[:size]
    inputs = input_tensors(data, data.train, index)
    return Batch(inputs, target_tensor(data.train, index), task.training_loss)


class ProxyScores:
    """Scores by network, proxy, weights, seed and batch; what the log holds is not repeated.

    Args:
        space: what populations are of; its equal networks are scored once.
        batch: what networks are run on, scaled to the size that each takes.
        log: where scores are kept.
        seed: of first weights and of what proxies draw.
        supernet: whose weights the subnets have, and its SHA-256; first weights without.

    Raises:
        InputError: a damaged line of the log.
    """

    def __init__(
        self,
        space: SearchSpace,
        batch: Batch,
        log: AppendLog,
        seed: int,
        supernet: tuple[Supernet, str] | None = None,
    ) -> None:
        self._space, self._batch, self._log, self._seed = space, batch, log, seed
        self._supernet = supernet[0] if supernet else None
        self._weights = supernet[1] if supernet else FIRST_WEIGHTS
        self._batch_sha256 = _batch_sha256(batch)
        mine = (self._weights, seed, self._batch_sha256)
        records = [
            record
            for record in log.read_as(ProxyScore)
            if (record.weights, record.seed, record.batch_sha256) == mine
        ]
        try:
            population = space.encode_all(space.architecture(one.values) for one in records)
        except InputError as error:
            raise InputError(f"{log.path}: {error}; remove that line") from None
        self._known = {
            (key, record.proxy): record
            for key, record in zip(self._keys(population), records, strict=True)
        }

    def __call__(
        self,
        population: Population,
        names: Sequence[str],
        report: Callable[[int], None] = lambda done: None,
    ) -> list[list[ProxyScore]]:
        """Score n architectures by k proxies; n rows of k records.

        Raises:
            InputError: no such proxy, or one that cannot be computed for such networks.
        """
        keys = self._keys(population)
        for done, (key, genome) in enumerate(zip(keys, population, strict=True)):
            report(done)
            self._score(key, genome, [name for name in names if (key, name) not in self._known])
        report(len(population))
        return [[self._known[key, name] for name in names] for key in keys]

    def encoding(self, names: Sequence[str]) -> Encoding:
        """Return the encoding of which proxies are the columns: their inverse hyperbolic sines,
        since they span orders of magnitude on both sides of 0.

        Every network that is new to it is built and run, which a bar shows.
        """

        def encode(population: Population) -> Matrix:
            if len(new := population[self._unscored(population, names)]):
                with progress_bar("proxies", len(new)) as advance:
                    self(new, names, advance)
            rows = self(population, names)
            scores = np.array([[record.score for record in row] for row in rows], dtype=np.float64)
            return np.asarray(np.arcsinh(scores.reshape(len(rows), len(names))))

        return encode

    def _unscored(self, population: Population, names: Sequence[str]) -> list[int]:
        """Return the first row of every network that lacks a score."""
        rows = {key: row for row, key in reversed(list(enumerate(self._keys(population))))}
        known = self._known
        return sorted(
            row for key, row in rows.items() if any((key, name) not in known for name in names)
        )

    def _score(self, key: bytes, genome: npt.NDArray[np.int16], missing: Sequence[str]) -> None:
        if not missing:
            return
        architecture = self._space.decode(genome)
        probe = self._probe(architecture)
        for name in missing:
            record = self._scored(architecture, probe, name)
            self._log.append(record.model_dump())
            self._known[key, name] = record

    def _scored(self, architecture: Architecture, probe: Probe, name: str) -> ProxyScore:
        start = time.perf_counter()
        score = proxy_score(probe, name)
        return ProxyScore(
            architecture_id=architecture.id,
            values=architecture.values,
            proxy=name,
            weights=self._weights,
            seed=self._seed,
            batch_sha256=self._batch_sha256,
            score=score,
            seconds=round(time.perf_counter() - start, 6),
        )

    def _probe(self, architecture: Architecture) -> Probe:
        network = self._space.layers.network(self._space.encode(architecture))
        inputs = resize(self._batch.inputs, network.inputs.values())
        batch = Batch(inputs, self._batch.targets, self._batch.loss)
        return Probe(self._module(architecture), batch, self._seed)

    def _module(self, architecture: Architecture) -> nn.Module:
        if self._supernet is not None:
            return self._supernet.extract(architecture)
        return fresh_network(self._space, architecture, self._seed)

    def _keys(self, population: Population) -> list[bytes]:
        return [row.tobytes() for row in self._space.equivalence_key(population)]


def _batch_sha256(batch: Batch) -> str:
    digest = sha256()
    for tensor in (*batch.inputs, batch.targets):
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()

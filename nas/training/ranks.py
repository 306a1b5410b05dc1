"""The processes that train one supernet together."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from search_spaces import InputError

Made = TypeVar("Made")

# For what the others wait for while the first works alone: it may load data and evaluate for long.
# A process that ends is noticed at once, whatever this is.
PATIENCE = timedelta(hours=2)
FIRST = 0


class Ranks:
    """One process alone."""

    rank = FIRST
    size = 1
    local_rank: int | None = None  # on its machine; None where it may take any device

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return on all processes what the first one makes: anything that JSON can hold."""
        return make()

    def tensors_from_first(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return on all processes the tensors of the first one, wherever its own are."""
        return tensors

    def first_then_others(self, make: Callable[[], Made]) -> Made:
        """Make something on every process; on the first before all others, which find its files."""
        return make()

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes files and prints."""
        return self.rank == FIRST


class ProcessGroup(Ranks):
    """Processes of torch.distributed; all of them call the same methods in the same order.

    Gradients are reduced here once a step, not by DistributedDataParallel: its hooks reduce within
    the backward pass, want every parameter in every pass or a search for unused ones, and of
    several passes a step reduce each, where `no_sync` would need to know the last that uses a
    parameter. One reduction of one flat buffer sends less and fits any strategy.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place: one reduction a type."""
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for some in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            with _others_there():
                dist.all_reduce(flat)
            flat /= self.size
            parts = torch.split(flat, [tensor.numel() for tensor in some])
            for tensor, part in zip(some, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def from_first(self, make: Callable[[], Made]) -> Made:
        """Return on all processes what the first one makes: anything that JSON can hold."""
        text = json.dumps(make()).encode() if self.is_first else b""
        length = torch.tensor(len(text))
        _from_first_(length)
        characters = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_first:
            characters = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        _from_first_(characters)
        made: Made = json.loads(characters.numpy().tobytes())
        return made

    def tensors_from_first(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return on all processes the tensors of the first one; those of the others are on the
        CPU.
        """
        kinds = self.from_first(
            lambda: {name: (list(one.shape), str(one.dtype)) for name, one in tensors.items()}
        )
        received = {}
        for name, (shape, dtype) in kinds.items():
            if self.is_first:
                sent = tensors[name].detach().cpu().contiguous()
            else:
                sent = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
            _from_first_(sent)
            received[name] = sent
        return tensors if self.is_first else received

    def first_then_others(self, make: Callable[[], Made]) -> Made:
        """Make something on every process; on the first before all others, which find its files."""
        if self.is_first:
            made = make()
            self.wait()
            return made
        self.wait()
        return make()

    def wait(self) -> None:
        """Wait for all processes."""
        self.mean_([torch.zeros(1)])


class SaidElsewhere(Exception):
    """Training ended, and another of its processes says why."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__("another process says why")
        self.interrupted = interrupted


def num_processes() -> int:
    """Return how many processes torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def torchrun_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started, and leave them at the end.

    What lies on CPUs travels by Gloo, what lies on GPUs by NCCL. Of errors that users can cause,
    and of interruptions, one process raises the first; in all others they become `SaidElsewhere`.

    Raises:
        InputError: another process ended without a word.
        SaidElsewhere: as above.
    """
    with_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if with_gpus else "gloo"
    store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        ranks = ProcessGroup()
        yield ranks
        ranks.wait()  # else one that leaves early would look like one that failed
    except (Exception, KeyboardInterrupt) as error:
        if store.add("speakers", 1) > 1:
            raise SaidElsewhere(isinstance(error, KeyboardInterrupt)) from error
        raise
    finally:
        dist.destroy_process_group()


def _from_first_(tensor: Tensor) -> None:
    with _others_there():
        dist.broadcast(tensor, FIRST)


@contextmanager
def _others_there() -> Iterator[None]:
    """Turn what Gloo raises where another process has ended into words."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            "another process of this training has ended; the same command goes on where it stopped"
        ) from error

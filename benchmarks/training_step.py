"""Time a sandwich step: python benchmarks/training_step.py [SPACE] [REPEATS]

Prints seconds of processor time (one thread, batch 64) of a step on the supernet, on the same four
extracted static nets, and on these with the supernet's own convolutions; each with its optimiser.
Variants take turns. Then the optimisers, and augmentation by whole pixels and by resampling.
"""

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.data.images import augment_images
from nas.task import Task
from nas.training.optimizers import OPTIMIZERS, parameter_groups
from nas.training.precision import autocast, in_fp32
from search_spaces import Architecture, SearchSpace
from search_spaces.layer_modules.fast_convolution import with_fast_convolutions
from search_spaces.mobilenet import V3, mobilenet_space
from search_spaces.resnet import RESNET_50D, resnet_space
from search_spaces.supernet import Supernet

BATCH_SIZE, NUM_CLASSES = 64, 1000
CONFIG = TrainingConfig()
PRESETS: dict[str, Callable[[int], SearchSpace]] = {
    "mobilenet-v3": lambda side: mobilenet_space(replace(V3, resolutions=(side,)), NUM_CLASSES, 3),
    "resnet-50d": lambda side: resnet_space(
        replace(RESNET_50D, resolutions=(side,)), NUM_CLASSES, 3
    ),
}
Run = Callable[[Tensor, Architecture], Tensor]


def sandwich_step(
    run: Run,
    module: nn.Module,
    architectures: list[Architecture],
    batch: tuple[Tensor, Tensor],
    precision: str,
) -> Callable[[], None]:
    """Return a step: the largest by labels, the others by its logits, clip, optimiser."""
    optimizer = OPTIMIZERS["sgd"](parameter_groups(module, 1e-4), CONFIG)
    task, (images, labels) = Task(), batch

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        teacher: Tensor | None = None
        for architecture in architectures:
            with autocast(precision, images.device):
                outputs = run(images, architecture)
            logits = in_fp32(outputs)
            if teacher is None:
                loss, teacher = task.training_loss(logits, labels), logits.detach()
            else:
                loss = task.distillation_loss(logits, teacher)
            loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CONFIG.clip_norm)
        optimizer.step()

    return step


def static_nets(nets: list[nn.Module], architectures: list[Architecture]) -> tuple[Run, nn.Module]:
    """Return the nets of the architectures as one function and one module."""
    of = dict(zip(map(str, architectures), nets, strict=True))
    return lambda images, architecture: of[str(architecture)](images), nn.ModuleList(nets)


def in_turns(variants: dict[str, Callable[[], None]], repeats: int) -> dict[str, np.ndarray]:
    """Return the processor seconds of every variant, after one run of each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repeat, (name, run) in product(range(repeats + 1), variants.items()):
        start = time.process_time()
        run()
        if repeat:
            seconds[name].append(time.process_time() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def show(title: str, seconds: dict[str, np.ndarray]) -> None:
    """Print least and median milliseconds, and both as shares of the first variant's."""
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        least, median = values.min(), np.median(values)
        print(
            f"{title:<24}{name:<28}min {least * 1e3:9.2f} ms  median {median * 1e3:9.2f} ms  "
            f"ratio {least / first.min():.3f} / {np.median(values / first):.3f}",
            flush=True,
        )


def steps(name: str, side: int, repeats: int) -> None:
    """Time steps at images of one side, in both precisions."""
    space = PRESETS[name](side)
    torch.manual_seed(0)
    supernet = Supernet(space).to(memory_format=torch.channels_last)
    random = space.sample(2, np.random.default_rng(0))
    architectures = [
        space.decode(genome) for genome in (space.largest()[0], *random, space.smallest()[0])
    ]
    images = torch.randn(BATCH_SIZE, 3, side, side).contiguous(memory_format=torch.channels_last)
    batch = images, torch.randint(0, NUM_CLASSES, (BATCH_SIZE,))
    nets = [
        supernet.extract(architecture).train().to(memory_format=torch.channels_last)
        for architecture in architectures
    ]
    fast = [with_fast_convolutions(copy.deepcopy(net)) for net in nets]
    variants = {}
    for precision in ("fp32", "bf16"):
        for words, (run, module) in (
            ("static nets", static_nets(copy.deepcopy(nets), architectures)),
            ("static, fast convolutions", static_nets(copy.deepcopy(fast), architectures)),
            ("supernet", (supernet, supernet)),
        ):
            variants[f"{precision} {words}"] = sandwich_step(
                run, module, architectures, batch, precision
            )
    show(f"{name} {side} px", in_turns(variants, repeats))


def optimizers(repeats: int) -> None:
    """Time the optimisers on the supernet of mobilenet-v3."""
    torch.manual_seed(0)
    supernet = Supernet(PRESETS["mobilenet-v3"](32)).to(memory_format=torch.channels_last)
    for parameter in supernet.parameters():
        parameter.grad = torch.randn_like(parameter)
    variants = {}
    for name, build in OPTIMIZERS.items():
        for fused in (False, True):
            optimizer = build(parameter_groups(supernet, 0.0), CONFIG)
            for group in optimizer.param_groups:
                group["fused"], group["lr"] = fused, 0.0
            variants[f"{name}{', fused' if fused else ''}"] = optimizer.step
    show("optimisers", in_turns(variants, repeats * 3))


def augmentations(repeats: int) -> None:
    """Time augmentation by whole pixels, and by resampling (a scale of next to nothing)."""
    images = torch.randn(BATCH_SIZE, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    moved, resampled = (
        TrainingConfig(shift=0.125, rotate=0, scale=scale, flip=True) for scale in (0, 1e-9)
    )
    variants = {
        "resampled": lambda: augment_images(images, resampled, generator),
        "whole pixels": lambda: augment_images(images, moved, generator),
    }
    show("augmentation 32 px", in_turns(variants, repeats * 10))


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1] if len(sys.argv) > 1 else "mobilenet-v3"
    num_repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for pixels in (32, 64):
        steps(chosen, pixels, num_repeats)
    optimizers(num_repeats)
    augmentations(num_repeats)

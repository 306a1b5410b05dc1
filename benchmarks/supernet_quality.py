"""How good are inherited weights? python benchmarks/supernet_quality.py RUN

Test accuracy of the smallest, the largest and ten random subnets of a trained run, and of the same
ten after one more epoch of training alone (same images, labels, augmentation and optimiser; the
learning rate falls from a tenth of the supernet's to 0).
"""

import copy
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

from nas.artifacts import load_supernet, subnet_evaluator
from nas.run_directory import Run, open_run
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import SubnetEvaluator
from nas.training.batches import training_batch
from search_spaces import Architecture
from search_spaces.supernet import resize

NUM_RANDOM = 10


def fine_tuned_accuracy(
    run: Run, evaluator: SubnetEvaluator, architecture: Architecture, epochs: int = 1
) -> float:
    config, data = run.recipe.training, run.data
    subnet = copy.deepcopy(evaluator.subnet(architecture)).train()
    rng = np.random.default_rng(1)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(
        subnet.parameters(), lr=config.learning_rate / 10, momentum=0.9, nesterov=True
    )
    specs = evaluator.specs(architecture).values()
    steps = epochs * (len(data.train) // config.batch_size)
    order = np.concatenate([rng.permutation(len(data.train)) for _ in range(epochs)])
    for step in range(steps):
        for group in optimizer.param_groups:
            rate = config.learning_rate / 10
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        index = order[step * config.batch_size : (step + 1) * config.batch_size]
        inputs, labels = training_batch(data, index, config, generator)
        logits = subnet(*resize(inputs, specs))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing).backward()
        optimizer.step()
    (images,) = evaluator.inputs("calibration", architecture)
    calibrate(subnet, ((batch,) for batch in torch.split(images, 128)))
    return evaluator.score(subnet, architecture, "test").accuracy


def main() -> None:
    run = open_run(sys.argv[1])
    space, supernet = run.space, load_supernet(run)
    evaluator = subnet_evaluator(run, supernet)
    for name, genome in (("smallest", space.smallest()), ("largest", space.largest())):
        architecture = space.decode(genome[0])
        accuracy = evaluator.score(evaluator.subnet(architecture), architecture, "test").accuracy
        macs = space.layers.costs(genome).macs[0]
        print(f"{name:<9} {architecture}  {macs / 1e6:.3f} M MACs  test accuracy {accuracy:.2%}")
    ratio = (
        space.layers.costs(space.largest()).macs[0] / space.layers.costs(space.smallest()).macs[0]
    )
    print(f"MACs of the largest / the smallest: {ratio:.1f}")
    gaps = []
    for genome in space.sample_distinct(NUM_RANDOM, np.random.default_rng(0)):
        architecture = space.decode(genome)
        inherited = evaluator.score(evaluator.subnet(architecture), architecture, "test").accuracy
        tuned = fine_tuned_accuracy(run, evaluator, architecture)
        gaps.append(100 * (tuned - inherited))
        print(f"{architecture}  inherited {inherited:.2%}  fine-tuned {tuned:.2%}")
    error = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    print(f"mean gap {np.mean(gaps):.2f} points, standard error {error:.2f}, n = {len(gaps)}")


if __name__ == "__main__":
    main()

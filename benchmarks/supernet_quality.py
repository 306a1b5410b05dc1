"""How good are inherited weights? python benchmarks/supernet_quality.py RUN

Test accuracy of the smallest and the largest subnet of a trained run; then `nas audit` on ten
subnets, each trained alone for one more epoch, and the mean gap of validation accuracy.
"""

import math
import sys

import numpy as np

import nas
from nas.artifacts import load_supernet, subnet_evaluator
from nas.run_directory import open_run

NUM_SUBNETS = 10


def main() -> None:
    run = open_run(sys.argv[1])
    evaluator = subnet_evaluator(run, load_supernet(run))
    macs = []
    for name, genome in (("smallest", run.space.smallest()), ("largest", run.space.largest())):
        architecture = run.space.decode(genome[0])
        accuracy = evaluator.score(evaluator.subnet(architecture), architecture, "test").accuracy
        macs.append(run.space.layers.costs(genome).macs[0])
        print(f"{name:<9} {architecture}  {macs[-1] / 1e6:.3f} M MACs  test {accuracy:.2%}")
    print(f"MACs of the largest / the smallest: {macs[1] / macs[0]:.1f}")
    report = nas.audit(run, subnets=NUM_SUBNETS)
    for one in report.subnets:
        before, after = one.inherited.accuracy, one.trained.accuracy
        print(f"{one.architecture_id}  inherited {before:.2%}  fine-tuned {after:.2%}")
    gaps = [100 * (one.trained.accuracy - one.inherited.accuracy) for one in report.subnets]
    error = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    print(f"mean gap {np.mean(gaps):.2f} points, standard error {error:.2f}, n = {len(gaps)}")
    print(report.verdict)


if __name__ == "__main__":
    main()

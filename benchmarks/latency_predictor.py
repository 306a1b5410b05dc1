"""Error and coverage of the latency predictors on the whole subnets of a profile, over 10 splits.

    nas profile measure mobilenet-v3 --options resolution=128,160 \
        --subnets 40 --held-out 20 --out v3.json
    python benchmarks/latency_predictor.py v3.json
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from hardware_profiles.profile import Profile
from nas.known_devices import profile_space
from predictors.latency import LATENCY_PREDICTORS
from predictors.latency.layer_table import layer_table
from predictors.predictor import error_report

NUM_HELD_OUT, NUM_SPLITS = 20, 10
COVERAGES = (0.8, 0.9)

profile = Profile.load(Path(sys.argv[1]))
space = profile_space(profile)
table_ms = layer_table(space, profile).latency_ms
subnets = profile.subnets
population = space.encode_all(space.architecture(subnet.values) for subnet in subnets)
latency_ms = np.array([subnet.latency_ms for subnet in subnets])
print(f"{profile.space} on {profile.target}")
print(f"{len(profile.layers)} layers, {len(subnets)} subnets, {NUM_HELD_OUT} of them held out,")
print(f"{NUM_SPLITS} splits; noise of the measurement {profile.noise or 0:.2%}")

print(f"{'method':<18}{'MAPE':>8}{'in 5 %':>8}{'in 10 %':>9}{'Spearman':>10}", end="")
print("".join(f"{f'bound {coverage:.0%}':>11}" for coverage in COVERAGES))
for method in ("table", "uncorrected sum", "calibrated-table", "regression", "auto"):
    figures = defaultdict(list)
    for split in range(NUM_SPLITS):
        order = np.random.default_rng(split).permutation(len(subnets))
        held_out, fitted_on = order[:NUM_HELD_OUT], order[NUM_HELD_OUT:]
        truth = latency_ms[held_out]
        if method == "uncorrected sum":
            mean = space.layers.sum(population[held_out], table_ms)
        else:
            predictor = LATENCY_PREDICTORS[method](space, table_ms, [])
            predictor.fit(population[fitted_on], latency_ms[fitted_on])
            prediction = predictor.predict(population[held_out])
            mean = prediction.mean
            for coverage in COVERAGES:
                kept = truth <= prediction.upper(coverage)
                figures[f"bound {coverage:.0%}"].append(kept.mean())
        report = error_report(mean, truth)
        for name in ("mape", "within_5", "within_10", "spearman"):
            figures[name].append(getattr(report, name))
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    print(f"{method:<18}{means['mape']:>8.2%}{means['within_5']:>8.0%}", end="")
    print(f"{means['within_10']:>9.0%}{means['spearman']:>10.4f}", end="")
    print("".join(f"{v:>11.1%}" for name, v in means.items() if name.startswith("bound")))

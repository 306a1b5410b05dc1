"""Time the analytic costs of 100,000 architectures: python benchmarks/population_costs.py"""

import time

import numpy as np

from search_spaces import SPACES, build_space

N, REPEATS = 100_000, 7

for name in SPACES:
    space = build_space(name)
    population = space.sample(N, np.random.default_rng(0))
    grid = space.layers  # built once a space
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        grid.costs(population)
        seconds.append(time.perf_counter() - start)
    best, middle = min(seconds), sorted(seconds)[REPEATS // 2]
    print(f"{name:<17} {N:,} architectures: best {best:.4f} s, median {middle:.4f} s")

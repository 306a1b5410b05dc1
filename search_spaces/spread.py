"""Samples that cover a space's range of cost, which independent uniform draws do not."""

import numpy as np

from search_spaces.space import Population, SearchSpace

POOL_PER_SAMPLE = 50


def spread_sample(space: SearchSpace, n: int, rng: np.random.Generator) -> Population:
    """Return `n` distinct architectures at even steps of log MACs, the smallest and largest
    included.

    Fewer where the space does not hold `n`. Drawn from a pool whose architectures range from the
    smallest to the largest (`SearchSpace.sample_levels`).
    """
    pool = np.concatenate(
        [space.smallest(), space.largest(), space.sample_levels(n * POOL_PER_SAMPLE, rng)]
    )
    pool = space.unique(pool)
    if len(pool) <= n:
        return pool
    macs = space.layers.sum(pool, space.layers.spec_costs[:, 0])
    cost = np.log(macs)
    chosen: list[int] = []
    free = np.ones(len(pool), dtype=np.bool_)
    # the ends first, so that no step in between takes them
    steps = np.linspace(cost.min(), cost.max(), n)
    for step in np.concatenate([steps[[0, -1]], steps[1:-1]])[:n]:
        nearest = int(np.argmin(np.where(free, np.abs(cost - step), np.inf)))
        free[nearest] = False
        chosen.append(nearest)
    return pool[chosen]

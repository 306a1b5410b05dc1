"""Time what a search costs beside its measurements, in seconds of the processor:

    python benchmarks/search_speed.py [SEEDS]

Constrained evolution: 50,000 evaluations on `mobilenet-v3` by a table of layer costs and an
ensemble of small networks, beside once-for-all's published algorithm (arXiv:1908.09791, its
finder) written as it is described, an architecture at a time. Then NSGA-II and what every search
is made of.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from nas.searching.searchers import SEARCHERS, Known, SearcherSettings
from predictors.accuracy.mlp_ensemble import MlpEnsembleAccuracy
from predictors.predictor import Predictor
from search_spaces import Population, SearchSpace, build_space

POPULATION, GENERATIONS = 100, 500
PARENTS, MUTANTS, MUTATION = 0.25, 0.5, 0.1
SAMPLES = 400  # that the accuracy predictor learns from
LIMIT = 0.45  # of the range of the table's costs
N, REPEATS = 100_000, 5


class Problem:
    """Error to minimise under a limit on a sum over layers."""

    def __init__(self, seed: int = 0) -> None:
        self.space = build_space("mobilenet-v3")
        rng = np.random.default_rng(seed)
        self.predictor = self.fitted(rng)
        self.table = self.space.layers.spec_costs[:, 0] * rng.uniform(
            0.7, 1.3, 1 + len(self.space.layers.specs)
        )
        ends = np.concatenate([self.space.smallest(), self.space.largest()])
        least, most = self.cost(ends)
        self.limit = least + LIMIT * (most - least)

    def cost(self, population: Population) -> np.ndarray:
        return self.space.layers.sum(population, self.table)

    def error(self, population: Population) -> np.ndarray:
        return self.predictor.predict(population).mean

    def fitted(self, rng: np.random.Generator) -> Predictor:
        """Return an ensemble that has learned an error which falls with the work of every layer,
        in its own measure.
        """
        sample = self.space.sample_levels(SAMPLES, rng)
        macs = self.space.layers.spec_costs[:, 0]
        worth = np.sqrt(macs) * rng.uniform(0.5, 1.5, len(macs))
        error = -self.space.layers.sum(sample, worth)
        predictor = MlpEnsembleAccuracy(self.space, 0)
        predictor.fit(sample, 25 + 3 * (error - error.mean()) / error.std())
        return predictor

    def known(self, population: Population) -> Known:
        cost = self.cost(population)
        violations = np.maximum(cost / self.limit - 1, 0)
        return Known(np.full((len(cost), 1), np.nan), violations)


def engine(problem: Problem, seed: int) -> float:
    """Run the searcher; return the least error found."""
    settings = SearcherSettings(
        num_objectives=1,
        population=POPULATION,
        evaluations=POPULATION * GENERATIONS,
        known=problem.known,
    )
    rng = np.random.default_rng(seed)
    searcher = SEARCHERS["constrained-evolution"](problem.space, rng, settings)
    best = np.inf
    for _ in range(GENERATIONS):
        population = searcher.ask()
        error = problem.error(population)
        violations = problem.known(population).violations
        searcher.tell(population, error[:, None], violations)
        best = min(best, float(error[violations == 0].min()))
    return best


def reference(problem: Problem, seed: int) -> float:  # noqa: C901
    """Run once-for-all's evolution, one architecture after the other."""
    space, rng = problem.space, np.random.default_rng(seed)
    options = space.num_options.tolist()
    canonical = plain_canonical(space)
    cost = plain_cost(problem)

    def within(make: Callable[[], list[int]]) -> list[int]:
        while True:
            child = canonical(make())
            if cost(child) <= problem.limit:
                return child

    def random() -> list[int]:
        return [int(rng.integers(count)) for count in options]

    def mutated(parent: list[int]) -> list[int]:
        return [
            int(rng.integers(count)) if rng.random() < MUTATION else option
            for option, count in zip(parent, options, strict=True)
        ]

    def crossed(first: list[int], second: list[int]) -> list[int]:
        return [a if rng.random() < 0.5 else b for a, b in zip(first, second, strict=True)]

    pool = [within(random) for _ in range(POPULATION)]
    errors = problem.error(np.array(pool, dtype=np.int16)).tolist()
    num_parents, num_mutants = round(PARENTS * POPULATION), round(MUTANTS * POPULATION)
    for _ in range(GENERATIONS - 1):
        order = sorted(range(len(pool)), key=errors.__getitem__)[:num_parents]
        pool, errors = [pool[i] for i in order], [errors[i] for i in order]

        def parent(pool: list[list[int]] = pool) -> list[int]:
            return pool[int(rng.integers(num_parents))]

        children = []
        for _ in range(num_mutants):
            one = parent()
            children.append(within(lambda one=one: mutated(one)))
        for _ in range(POPULATION - num_mutants):
            one, other = parent(), parent()
            children.append(within(lambda one=one, other=other: crossed(one, other)))
        pool += children
        errors += problem.error(np.array(children, dtype=np.int16)).tolist()
    return min(errors)


def plain_canonical(space: SearchSpace) -> Callable[[list[int]], list[int]]:
    """Return the function that sets inactive options of one genome to 0."""
    place = {dimension.name: i for i, dimension in enumerate(space.dimensions)}
    rules = [
        (i, place[d.active_when[0]], d.active_when[1])
        for i, d in enumerate(space.dimensions)
        if d.active_when is not None
    ]

    def canonical(genome: list[int]) -> list[int]:
        for child, parent, activating in rules:
            if genome[parent] not in activating:
                genome[child] = 0
        return genome

    return canonical


def plain_cost(problem: Problem) -> Callable[[list[int]], float]:
    """Return the cost of one genome: a dictionary for each slot, its options to milliseconds."""
    space, tables = problem.space, []
    place = {dimension.name: i for i, dimension in enumerate(space.dimensions)}
    for column, slot in enumerate(space.slots):
        own = [place[name] for name in slot.depends_on]
        counts = space.num_options[own].tolist()
        genomes = np.repeat(space.largest(), int(np.prod(counts)), axis=0)
        genomes[:, own] = np.indices(counts).reshape(len(own), -1).T
        costs = problem.table[space.layers.index(genomes)[:, column]]
        keys = map(tuple, genomes[:, own].tolist())
        tables.append((own, dict(zip(keys, costs.tolist(), strict=True))))

    def cost(genome: list[int]) -> float:
        return sum(table[tuple([genome[i] for i in own])] for own, table in tables)

    return cost


def nsga2(problem: Problem, evaluations: int = 10_000) -> tuple[float, float]:
    """Return the seconds of NSGA-II, and of the predictors alone."""
    settings = SearcherSettings(population=POPULATION, evaluations=evaluations)
    searcher = SEARCHERS["nsga2"](problem.space, np.random.default_rng(0), settings)
    started, predicting = time.process_time(), 0.0
    for _ in range(evaluations // POPULATION):
        population = searcher.ask()
        before = time.process_time()
        costs = np.column_stack([problem.error(population), problem.cost(population)])
        predicting += time.process_time() - before
        searcher.tell(population, costs, np.zeros(len(population)))
    return time.process_time() - started, predicting


def compare(problem: Problem, seeds: int) -> None:
    for name, run in (("engine", engine), ("reference", reference)):
        found, seconds = [], []
        for seed in range(seeds):
            started = time.process_time()
            found.append(run(problem, seed))
            seconds.append(time.process_time() - started)
        print(
            f"{name:<10} {seeds} seeds: seconds best {min(seconds):.2f}, median "
            f"{np.median(seconds):.2f}; error mean {np.mean(found):.3f}, worst {max(found):.3f}, "
            f"best {min(found):.3f}"
        )


def rates(problem: Problem) -> None:
    population = problem.space.sample(N, np.random.default_rng(0))
    for name, score in (
        ("table cost", problem.cost),
        ("analytic costs", problem.space.layers.costs),
        ("mlp-ensemble", problem.error),
    ):
        seconds = []
        for _ in range(REPEATS):
            started = time.process_time()
            score(population)
            seconds.append(time.process_time() - started)
        print(f"{name:<20} {N / min(seconds):>12,.0f} architectures/s")


if __name__ == "__main__":
    the_problem = Problem()
    compare(the_problem, int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    total, predictors = nsga2(the_problem)
    beyond = total - predictors
    print(f"NSGA-II    10,000 evaluations: {total:.2f} s, {beyond:.2f} s beyond predictors")
    rates(the_problem)

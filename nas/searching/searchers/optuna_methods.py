"""The samplers of optuna that search, and what suits each."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from nas.searching.searchers.searcher import SearcherSettings
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Method:
    """A sampler of optuna and what suits it.

    Args:
        build: from a seed, the space and the settings.
        conditional: only active dimensions are suggested; else all of them, and an inactive one
            counts for nothing. Samplers that learn of dimensions common to all trials would draw
            conditional ones at random.
        generations: an answer is a population; else a batch.
        learns_repeats: a network that was suggested again is told again; else it counts as failed.
        tries: suggestions for one new network, before it is drawn at random.
    """

    build: Callable[[int, SearchSpace, SearcherSettings], BaseSampler]
    conditional: bool
    generations: bool
    learns_repeats: bool
    tries: int


def _tpe(seed: int, space: SearchSpace, settings: SearcherSettings) -> BaseSampler:
    conditional = any(dimension.active_when for dimension in space.dimensions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`
        return TPESampler(seed=seed, multivariate=True, group=conditional)


def _gp(seed: int, space: SearchSpace, settings: SearcherSettings) -> BaseSampler:
    return GPSampler(seed=seed)


def _nsga2(seed: int, space: SearchSpace, settings: SearcherSettings) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(2, settings.population))


METHODS = {
    "tpe": Method(_tpe, conditional=True, generations=False, learns_repeats=True, tries=10),
    "gp": Method(_gp, conditional=False, generations=False, learns_repeats=True, tries=3),
    "nsga2": Method(_nsga2, conditional=False, generations=True, learns_repeats=False, tries=10),
}
"""Name -> method: TPE (Bergstra et al., 2011; multivariate: Falkner et al., arXiv:1807.01774), a
Gaussian process with log expected (hypervolume) improvement, and NSGA-II (Deb et al., 2002)."""

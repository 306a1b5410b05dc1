"""Searchers of optuna (Akiba et al., arXiv:1907.10902), alone or several processes on one study."""

import os
import socket
from collections.abc import Sequence

import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.optuna_methods import METHODS
from nas.searching.searchers.optuna_study import open_study
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from search_spaces import Dimension, Population, SearchSpace

LIMITS = "limits"  # name of the constraint
GUESSED = "guessed"  # attribute of a trial that was not evaluated: its costs are guesses
WORKER = "worker"  # attribute of a trial in a shared study: "host:process"
# What a network that keeps every limit is told to exceed them by: by how much it stays below is not
# known, and at 0 a model of the constraint would give it even odds
SLACK = -0.1
Told = tuple[list[float], float]  # costs and violation
RANDOM_ROUNDS = 5  # other workers may take what was put in the queue


class OptunaSearcher:
    """Asks a sampler of optuna for new networks; limits are a constraint of every trial.

    With a `storage`, workers share what is known: what one has been told, none of them proposes
    again. What a worker of this machine left unfinished when it ended is proposed by the next.

    Raises:
        InputError: a storage that cannot be opened, a study of another space.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings, method: str
    ) -> None:
        self._space, self._rng, self._method = space, rng, METHODS[method]
        self._settings = settings
        seed = int(rng.integers(2**31))
        self._study = open_study(space, settings, self._method.build(seed, space, settings))
        self._shared = settings.storage is not None
        self._size = settings.population if self._method.generations else settings.batch
        self._proposed = Proposed(space, rng)
        self._known: dict[bytes, Told] = {}  # by network
        self._elsewhere: set[bytes] = set()  # networks that other workers evaluate now
        self._finished: set[int] = set()  # trials looked at
        self._asked: list[Trial] = []
        if self._shared:
            self._catch_up()
        self._enqueue(self._proposed.fresh(settings.first(space)))

    def ask(self) -> Population:
        """Return new networks: a batch or a population, fewer where hardly any are left."""
        self._asked, genomes = [], [np.zeros((0, self._space.num_dimensions), dtype=np.int16)]
        while len(self._asked) < self._size:
            found = self._propose()
            if found is None:
                break
            self._asked.append(found[0])
            genomes.append(found[1])
        return np.concatenate(genomes)

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs and violations of the networks asked last."""
        if len(population) != len(self._asked):
            raise AssertionError("tell what was asked")
        for trial, key, cost, violation in zip(
            self._asked, self._keys(population), costs, violations, strict=True
        ):
            if not np.isnan(cost).any():
                self._known[key] = cost.tolist(), float(violation)
            self._finish(trial, self._known.get(key))
        self._asked = []

    # --- one trial --------------------------------------------------------------------------------

    def _propose(self) -> tuple[Trial, Population] | None:
        """Return a trial of a network not proposed before; None where none was found."""
        for attempt in range(self._method.tries + RANDOM_ROUNDS):
            if attempt >= self._method.tries:
                drawn = draw_feasible(self._proposed, 1, self._rng, self._settings)
                if not len(drawn):
                    return None
                self._enqueue(drawn)
            trial = self._study.ask()
            if self._shared:
                trial.set_user_attr(WORKER, _worker())
            genome = self._suggest(trial)
            key = self._keys(genome)[0]
            if self._shared:  # of two that suggest the same at once, at least one sees the other
                self._catch_up(trial.number)
            is_new = len(self._proposed.fresh(genome)) and key not in self._elsewhere
            excess = self._settings.known_violations(genome)[0] if is_new else 0.0
            if is_new and (excess == 0 or attempt >= self._method.tries):
                self._proposed.add(genome)
                return trial, genome
            if is_new:
                trial.set_user_attr(GUESSED, True)
                self._finish(trial, self._guess(genome, excess))
            else:
                self._finish(trial, self._known.get(key) if self._method.learns_repeats else None)
        return None

    def _guess(self, genome: Population, excess: float) -> Told | None:
        """Return what a network is told that exceeds the known limits and so is not evaluated.

        Costs that only a measurement tells are the mean of those told; None before the first.
        """
        if not self._known or self._settings.known is None:
            return None
        costs = self._settings.known(genome).costs[0]
        mean = np.mean([told for told, _ in self._known.values()], axis=0)
        return np.where(np.isnan(costs), mean, costs).tolist(), float(excess)

    def _suggest(self, trial: Trial) -> Population:
        """Let the sampler choose options, parents first; `1 x d`, canonical."""
        # NSGA-II numbers a trial's generation here; one from the queue would be left out otherwise
        _ = trial.relative_params
        chosen: dict[str, int] = {}
        for dimension in self._space.dimensions:
            if self._is_suggested(dimension, chosen):
                chosen[dimension.name] = _suggest_option(trial, dimension)
        return self._genome(chosen)

    def _is_suggested(self, dimension: Dimension, chosen: dict[str, int]) -> bool:
        if dimension.active_when is None or not self._method.conditional:
            return True
        parent, activating = dimension.active_when
        return chosen.get(parent, -1) in activating

    def _genome(self, chosen: dict[str, int]) -> Population:
        row = [chosen.get(dimension.name, 0) for dimension in self._space.dimensions]
        return self._space.canonicalize(np.array([row], dtype=np.int16))

    def _finish(self, trial: Trial, known: Told | None) -> None:
        if known is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            costs, violation = known
            trial.set_constraint(LIMITS, violation if violation > 0 else SLACK)
            self._study.tell(trial, costs)
        self._finished.add(trial.number)

    def _enqueue(self, population: Population) -> None:
        """Put networks in the study's queue, which every worker takes from first."""
        active = self._space.active(population) | (not self._method.conditional)
        for genome, suggested in zip(population.tolist(), active.tolist(), strict=True):
            self._study.enqueue_trial(
                {
                    dimension.name: option if _is_ordered(dimension) else dimension.options[option]
                    for dimension, option, is_suggested in zip(
                        self._space.dimensions, genome, suggested, strict=True
                    )
                    if is_suggested and len(dimension.options) > 1
                }
            )

    def _keys(self, population: Population) -> list[bytes]:
        return [row.tobytes() for row in self._space.equivalence_key(population)]

    # --- other workers ----------------------------------------------------------------------------

    def _catch_up(self, current: int | None = None) -> None:
        """Learn what other workers were told and are at, and take over what dead ones left.

        Args:
            current: number of the trial that is being suggested.
        """
        self._elsewhere = set()
        own = {current, *(trial.number for trial in self._asked)}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number in self._finished or trial.number in own:
                continue
            if trial.state.is_finished():
                self._finished.add(trial.number)
            if trial.state == TrialState.COMPLETE and not trial.user_attrs.get(GUESSED):
                genome = self._read(trial)
                costs, violation = list(trial.values), max(0.0, trial.constraints[LIMITS])
                self._known[self._keys(genome)[0]] = costs, violation
                self._proposed.add(genome)
            elif trial.state == TrialState.RUNNING:
                if _has_ended(trial.user_attrs.get(WORKER, "")):
                    self._take_over(trial)
                else:
                    self._elsewhere |= set(self._keys(self._read(trial)))

    def _take_over(self, trial: FrozenTrial) -> None:
        try:
            self._study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return  # another worker was faster
        self._finished.add(trial.number)
        self._enqueue(self._read(trial))

    def _read(self, trial: FrozenTrial) -> Population:
        """Return the network of a trial, `1 x d`."""
        return self._genome(
            {
                dimension.name: int(trial.params[dimension.name])
                if _is_ordered(dimension)
                else dimension.options.index(trial.params[dimension.name])
                for dimension in self._space.dimensions
                if dimension.name in trial.params
            }
        )


def _suggest_option(trial: Trial, dimension: Dimension) -> int:
    """Let the sampler choose an option: numbers by their place, words as they are."""
    if len(dimension.options) == 1:
        return 0
    if _is_ordered(dimension):
        return trial.suggest_int(dimension.name, 0, len(dimension.options) - 1)
    words: Sequence[str | int | float | bool] = dimension.options
    return dimension.options.index(trial.suggest_categorical(dimension.name, words))


def _is_ordered(dimension: Dimension) -> bool:
    return all(isinstance(option, (int, float)) for option in dimension.options)


def _worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _has_ended(worker: str) -> bool:
    """Tell whether a worker was a process of this machine that is no more."""
    host, _, process = worker.rpartition(":")
    if host != socket.gethostname() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, and alive
    return False

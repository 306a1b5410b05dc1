"""Choose a winner among measured finalists; where none keeps the budget, learn and search on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardware_profiles.profile_device import Measurement
from nas.config import SearchConfig
from nas.exporting.in_memory import Exported, export_in_memory
from nas.searching.evaluations import Evaluations, MeasuredSubnet
from nas.searching.loop import SearchOutcome
from nas.searching.problem import SearchProblem
from nas.searching.search import Search
from nas.subnet.evaluator import SubnetEvaluator
from predictors.predictor import Vector
from search_spaces import Architecture, InfeasibleError, Population, SearchSpace

Say = Callable[[str], None]
TimeAll = Callable[[list[Exported]], list[Measurement]]  # side by side, on the target


@dataclass(frozen=True)
class Choice:
    """The winner, exported in memory and measured twice; or None and what came closest.

    The winner's latency is the slower of its two measurements.
    """

    outcome: SearchOutcome  # of the last round
    problem: SearchProblem
    rounds: int
    winner: MeasuredSubnet | None
    exported: Exported | None
    closest_miss: MeasuredSubnet | None


class Chooser:
    """Measures finalists and picks the most accurate one whose measured latency keeps the budget.

    Args:
        space, evaluator: where subnets come from.
        evaluations: what was measured already; known subnets are not measured again.
        config: rounds, finalists a round.
        time_all: times exported subnets on the target.
        make_problem: builds the search problem on a latency predictor that has also learnt from the
            given measured subnets (n x d and n ms).
        search: searches that problem.
        emit: exports a candidate as it will leave, perhaps with other weights than the evaluator's,
            by whose accuracy candidates are compared; the evaluator's without.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: SubnetEvaluator,
        evaluations: Evaluations,
        config: SearchConfig,
        time_all: TimeAll,
        make_problem: Callable[[tuple[Population, Vector] | None], SearchProblem],
        search: Search,
        say: Say,
        emit: Callable[[Architecture], Exported] | None = None,
    ) -> None:
        self._space, self._evaluator, self._evaluations = space, evaluator, evaluations
        self._config, self._time_all, self._say = config, time_all, say
        self._make_problem, self._search = make_problem, search
        self._emit = emit or self._export

    def choose(self, budget_ms: float, seed: int) -> Choice:
        """Search, measure, choose; at most `config.rounds` times.

        Raises:
            InfeasibleError: the predictors know from the start that nothing keeps the limits.
        """
        problem = self._make_problem(None)
        try:
            outcome = self._search(problem, self._config, np.random.default_rng([seed, 0]))
        except InfeasibleError:  # so the predictor says; what was measured knows better
            outcome = self._known_outcome(budget_ms, problem)
            if not len(outcome.population):
                raise
        for number in range(1, self._config.rounds + 1):
            self._measure(self._finalists(outcome))
            winner, exported = self._confirm(budget_ms, problem)
            if winner is not None:
                return Choice(outcome, problem, number, winner, exported, None)
            miss = self._closest(problem)
            if number == self._config.rounds:
                break
            self._say(
                f"round {number}: no measured finalist keeps all limits"
                + ("" if miss is None else f"; the closest takes {miss.latency_ms:.4g} ms")
                + f" of {budget_ms:.4g}; refitting the latency predictor and searching on"
            )
            problem = self._make_problem(self._evaluations.least_latencies())
            rng = np.random.default_rng([seed, number])
            try:
                outcome = self._search(problem, self._config, rng)
            except InfeasibleError as error:
                self._say(str(error))
                break
        return Choice(outcome, problem, number, None, None, miss)

    def _known_outcome(self, budget_ms: float, problem: SearchProblem) -> SearchOutcome:
        """Return the measured subnets that keep the limits as if a search had found them."""
        known = [m for m in self._within(problem) if m.keeps(budget_ms)]
        population = self._space.encode_all(map(self._evaluations.architecture, known))
        measured = [
            [m.loss if name == "loss" else 1 - m.validation_accuracy for name in problem.measured]
            for m in known
        ]
        found = np.array(measured).reshape(len(known), len(problem.measured))
        return SearchOutcome(population, problem.evaluate(population, found).costs, len(known))

    def _finalists(self, outcome: SearchOutcome) -> list[Architecture]:
        """Best predicted feasible ones that were not measured yet."""
        chosen: list[Architecture] = []
        for genome in outcome.population:
            architecture = self._space.decode(genome)
            if self._evaluations.get(architecture.id) is None:
                chosen.append(architecture)
            if len(chosen) == self._config.finalists:
                break
        return chosen

    def _export(self, architecture: Architecture) -> Exported:
        return export_in_memory(self._evaluator, architecture)

    def _measure(self, architectures: list[Architecture]) -> None:
        exported = [self._export(architecture) for architecture in architectures]
        results = self._time_all(exported)
        for one, result in zip(exported, results, strict=True):
            score = self._evaluator.score(one.subnet, one.architecture, "validation")
            self._log(one.architecture, score.accuracy, score.loss, result)

    def _log(
        self, architecture: Architecture, accuracy: float, loss: float, result: Measurement
    ) -> MeasuredSubnet:
        """Log a measurement; return the slowest so far of its architecture."""
        measured = MeasuredSubnet(
            architecture_id=architecture.id,
            values=architecture.values,
            supernet_sha256=self._evaluations.supernet_sha256,
            target_id=self._evaluations.target_id,
            validation_accuracy=accuracy,
            loss=loss,
            latency_ms=result.latency_ms,
            noise=result.noise,
            resident_bytes=result.resident_bytes,
        )
        return self._evaluations.add(measured)

    def _confirm(
        self, budget_ms: float, problem: SearchProblem
    ) -> tuple[MeasuredSubnet | None, Exported | None]:
        """Measure the best candidate's file once more; the next one where it then misses."""
        candidates = [m for m in self._within(problem) if m.keeps(budget_ms)]
        candidates.sort(key=lambda m: (-m.validation_accuracy, m.loss, m.latency_ms))
        for candidate in candidates:
            exported = self._emit(self._evaluations.architecture(candidate))
            result = self._time_all([exported])[0]
            accuracy, loss = candidate.validation_accuracy, candidate.loss
            slower = self._log(exported.architecture, accuracy, loss, result)
            if slower.keeps(budget_ms):
                return slower, exported
        return None, None

    def _within(self, problem: SearchProblem) -> list[MeasuredSubnet]:
        """Measured subnets of the part that keep the limits, whatever their latency."""
        return self._evaluations.within(problem)

    def _closest(self, problem: SearchProblem) -> MeasuredSubnet | None:
        return min(self._within(problem), key=lambda m: m.typical_ms, default=None)

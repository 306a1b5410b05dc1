"""A published table as what a search evaluates: every network once, with the table's values."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nas.benchmarking.tables import BenchmarkTable
from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import SearchProblem
from nas.searching.quantity import Quantity, Remembered, exact
from predictors.predictor import Vector
from search_spaces import InputError, Population, SearchSpace
from search_spaces.part import SpacePart

PERCENT = 100.0


@dataclass(frozen=True)
class TableObjectives:
    """What the networks of a table cost; the architectures of a class share its first row's values.

    Args:
        table: holds every architecture of its space.
        costs: of all rows, n x m, minimised: error (%), then latencies (ms).
    """

    table: BenchmarkTable
    costs: npt.NDArray[np.float64]

    @cached_property
    def space(self) -> SearchSpace:
        """The table's space where a network is a class of the table."""
        return self.table.space.with_network_key(self._class_key)

    def evaluate(self, population: Population) -> npt.NDArray[np.float64]:
        """Look up what n architectures cost, n x m."""
        return self.costs[self._first_rows[self.table.rows_of(population)]]

    def networks(self, population: Population) -> npt.NDArray[np.int64]:
        """Return the number of the network that each of n architectures is."""
        return self.table.classes[self.table.rows_of(population)]

    @cached_property
    def problem(self) -> SearchProblem:
        """What a search minimises: every column of the costs, looked up."""
        look_up = Remembered(self.evaluate)

        def column(number: int) -> Quantity:
            return Quantity(f"cost{number}", "", lambda rows: exact(look_up(rows)[:, number]))

        objectives = [column(number) for number in range(self.costs.shape[1])]
        reference = np.maximum(self.costs.max(axis=0), 1e-12)
        return SearchProblem(SpacePart(self.space, {}), objectives, reference=reference.tolist())

    @cached_property
    def of_networks(self) -> npt.NDArray[np.float64]:
        """Costs of every network once, in the table's order."""
        return self.costs[self.table.class_representatives]

    @cached_property
    def front(self) -> npt.NDArray[np.float64]:
        """The true front: costs of the networks that no other one beats."""
        return self.of_networks[non_dominated(self.of_networks)]

    def hypervolume_share(self, costs: npt.NDArray[np.float64], reference: Vector) -> float:
        """Return the hypervolume of n x m costs as a share of the true front's."""
        return hypervolume(costs[non_dominated(costs)], reference) / hypervolume(
            self.front, reference
        )

    @cached_property
    def _first_rows(self) -> npt.NDArray[np.intp]:
        """Row of the first architecture of every row's class."""
        _, first = np.unique(self.table.classes, return_index=True)
        return np.asarray(first[self.table.classes])

    def _class_key(self, population: Population) -> npt.NDArray[np.int16]:
        return self.networks(population).astype(np.int32).view(np.int16).reshape(-1, 2)


def table_objectives(
    table: BenchmarkTable, accuracy_column: str = "", targets: Sequence[str] = ()
) -> TableObjectives:
    """Return error (%) by a column of accuracies (without a name: the first), and latencies (ms).

    Raises:
        InputError: an unknown column or target, values that are no numbers, or a table that lacks
            architectures: a search would propose them.
    """
    rows, held = len(table.population), table.space.num_architectures
    if rows != held:
        raise InputError(
            f"{table.path}: expected all {held:,} architectures of {table.space.name}, got "
            f"{rows:,}; a search needs the whole table"
        )
    accuracy = table.accuracy(accuracy_column)
    latencies = [table.latency(target) for target in targets]
    return TableObjectives(table, np.column_stack([PERCENT - accuracy, *latencies]))

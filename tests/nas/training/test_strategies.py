import numpy as np
import pytest

from nas.config import TrainingConfig
from nas.training import STRATEGIES
from nas.training.sandwich import Sandwich
from tests.contracts.strategy_contract import StrategyContract


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_its_contract_suite(name):
    assert name in {suite.name for suite in StrategyContract.__subclasses__()}


class TestSandwich(StrategyContract):
    name = "sandwich"

    @pytest.mark.parametrize("num_random", [0, 1, 4])
    def test_a_step_is_the_largest_random_ones_and_the_smallest(self, space, num_random):
        strategy = Sandwich(space, TrainingConfig(num_random=num_random))
        step = strategy.step(0, np.random.default_rng(0))
        assert len(step) == num_random + 2
        assert step[0].architecture == space.decode(space.largest()[0])
        assert step[-1].architecture == space.decode(space.smallest()[0])
        assert [subnet.learns_from for subnet in step] == ["labels"] + ["teacher"] * (len(step) - 1)

    def test_random_ones_differ_from_step_to_step(self, space, strategy):
        steps = self.steps(strategy, 0, n=10)
        random = {subnet.architecture for step in steps for subnet in step[1:-1]}
        assert len(random) > 15

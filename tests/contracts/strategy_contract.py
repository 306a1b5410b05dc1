import numpy as np
import pytest

from nas.config import TrainingConfig
from nas.training import STRATEGIES, Strategy
from nas.training.strategy import TrainingSubnet
from search_spaces import SearchSpace


class StrategyContract:
    """What every training strategy promises.

    A subclass names its entry of `STRATEGIES` and has a fixture `space`.
    """

    name: str

    @pytest.fixture
    def config(self) -> TrainingConfig:
        """Settings of the strategy."""
        return TrainingConfig(strategy=self.name)

    @pytest.fixture
    def strategy(self, space: SearchSpace, config: TrainingConfig) -> Strategy:
        """The strategy on the space."""
        return STRATEGIES[self.name](space, config)

    @staticmethod
    def steps(strategy: Strategy, seed: int, n: int = 5) -> list[list[TrainingSubnet]]:
        """The first `n` steps."""
        rng = np.random.default_rng(seed)
        return [strategy.step(0, rng) for _ in range(n)]

    def test_steps_follow_the_generator(self, strategy):
        assert self.steps(strategy, 0) == self.steps(strategy, 0)

    def test_steps_hold_no_state(self, space, config, strategy):
        """A strategy that has worked for a while goes on as one that has just been made."""
        self.steps(strategy, seed=9, n=3)
        fresh = STRATEGIES[self.name](space, config)
        for epoch in (0, config.epochs - 1):
            used, new = (s.step(epoch, np.random.default_rng(1)) for s in (strategy, fresh))
            assert used == new

    def test_steps_train_architectures_of_the_space(self, space, strategy):
        for step in self.steps(strategy, 2):
            assert step
            for subnet in step:
                genome = space.encode(subnet.architecture)  # refuses what is not of the space
                assert space.decode(genome) == subnet.architecture
                assert subnet.loss_weight > 0

    def test_the_first_subnet_learns_from_labels(self, strategy):
        assert all(step[0].learns_from == "labels" for step in self.steps(strategy, 3))

    def test_only_known_teachers(self, strategy):
        found = {subnet.learns_from for step in self.steps(strategy, 4) for subnet in step}
        assert found <= {"labels", "teacher"}

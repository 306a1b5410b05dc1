import numpy as np
import pytest

from nas.config import TrainingConfig
from nas.training import STRATEGIES, Strategy
from nas.training.strategy import StepContext, TrainingStep
from search_spaces import Population, SearchSpace


def sum_of_options(population: Population) -> np.ndarray:
    """A loss that only the genome decides about, in place of a mini-batch's."""
    return population.sum(axis=1, dtype=float)


def context(progress: float, seed: int = 0, expected_loss=sum_of_options) -> StepContext:
    """A place in a training of 100 epochs."""
    return StepContext(
        epoch=int(progress * 100),
        epochs=100,
        progress=progress,
        rng=np.random.default_rng(seed),
        expected_loss=expected_loss,
    )


class StrategyContract:
    """What every training strategy promises.

    A subclass names its entry of `STRATEGIES` and has a fixture `space`.
    """

    name: str
    moments = (0.0, 0.2, 0.45, 0.505, 0.6, 0.8, 0.999)  # shares of the training

    @pytest.fixture
    def config(self) -> TrainingConfig:
        """Settings of the strategy."""
        return TrainingConfig(strategy=self.name)

    @pytest.fixture
    def strategy(self, space: SearchSpace, config: TrainingConfig) -> Strategy:
        """The strategy on the space."""
        return STRATEGIES[self.name](space, config)

    def steps(self, strategy: Strategy, seed: int = 0) -> list[TrainingStep]:
        """Three steps at every one of the moments."""
        return [
            strategy.step(context(moment, seed + draw))
            for moment in self.moments
            for draw in range(3)
        ]

    def test_steps_follow_the_generator(self, strategy):
        first, again, other = (self.steps(strategy, seed) for seed in (0, 0, 100))
        assert first == again
        assert first != other

    def test_steps_hold_no_state(self, space, config, strategy):
        """A strategy that has worked for a while goes on as one that has just been made."""
        self.steps(strategy, seed=9)
        fresh = STRATEGIES[self.name](space, config)
        for moment in reversed(self.moments):
            assert strategy.step(context(moment, 1)) == fresh.step(context(moment, 1))

    def test_steps_train_architectures_of_the_space(self, space, strategy):
        for step in self.steps(strategy):
            assert step.subnets
            for subnet in step.subnets:
                genome = space.encode(subnet.architecture)  # refuses what is not of the space
                assert space.decode(genome) == subnet.architecture
                assert 0 < subnet.loss_weight <= 1
                assert 0 <= subnet.regularisation <= 1

    def test_a_teacher_is_there_before_those_who_learn_from_it(self, strategy):
        """The first subnet's outputs may teach the others, but not itself."""
        for step in self.steps(strategy):
            learners = [one for one in step.subnets if one.learns_from != "labels"]
            assert not learners or step.teacher is not None
            first = step.subnets[0]
            assert first.learns_from == "labels" or first.architecture != step.teacher

    def test_roles_tell_the_ends_of_the_space(self, space, strategy):
        ends = {"largest": space.largest()[0], "smallest": space.smallest()[0]}
        for subnet in (one for step in self.steps(strategy) for one in step.subnets):
            if subnet.role != "random":
                assert subnet.architecture == space.decode(ends[subnet.role])

    @pytest.mark.parametrize("epochs", [1, 2, 7, 30, 100])
    def test_channels_are_sorted_once_at_most(self, strategy, epochs):
        assert sum(strategy.sorts_channels(epoch, epochs) for epoch in range(epochs)) <= 1

    def test_once_all_are_trained_it_stays_so(self, strategy):
        found = [strategy.trains_all(moment) for moment in self.moments]
        assert found == sorted(found)
        assert found[-1]

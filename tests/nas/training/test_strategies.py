from itertools import pairwise

import numpy as np
import pytest

from nas.config import OPTIONS, TrainingConfig
from nas.training import STRATEGIES
from nas.training.attentive import POOL, Attentive
from nas.training.delayed import EPSILON, Delayed
from nas.training.progressive import Progressive
from nas.training.sandwich import Sandwich
from nas.training.schedules import SCHEDULES
from nas.training.sorted_nested import nested_chain
from nas.training.strategy import TrainingStep
from search_spaces import SPACES, InputError, build_space
from tests.contracts.cached_spaces import cached_space
from tests.contracts.strategy_contract import StrategyContract, context, sum_of_options


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_its_contract_suite(name):
    assert name in {suite.name for suite in StrategyContract.__subclasses__()}


def test_options_are_declared_of_everything_that_can_be_chosen():
    assert set(OPTIONS) == {"strategy", "schedule"}
    assert set(OPTIONS["strategy"]) == set(STRATEGIES)
    assert set(OPTIONS["schedule"]) == set(SCHEDULES)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("space_name", SPACES)
def test_every_strategy_trains_every_space(name, space_name):
    space = cached_space(space_name)
    strategy = STRATEGIES[name](space, TrainingConfig(strategy=name))
    for progress in (0.0, 0.6, 0.99):
        assert strategy.step(context(progress)).subnets


def architectures(step: TrainingStep) -> list:
    return [subnet.architecture for subnet in step.subnets]


def is_sandwich(step: TrainingStep, space, num_random: int) -> bool:
    largest, smallest = (space.decode(row[0]) for row in (space.largest(), space.smallest()))
    roles = [subnet.role for subnet in step.subnets]
    return (
        roles == ["largest", *["random"] * num_random, "smallest"]
        and (architectures(step)[0], architectures(step)[-1]) == (largest, smallest)
        and [one.learns_from for one in step.subnets] == ["labels"] + ["teacher"] * (len(roles) - 1)
        and [one.regularisation for one in step.subnets] == [1.0] + [0.0] * (len(roles) - 1)
        and step.teacher == largest
    )


class TestSinglePath(StrategyContract):
    name = "single-path"

    def test_a_step_is_one_random_architecture_on_labels(self, strategy):
        steps = [strategy.step(context(0.5, seed)) for seed in range(20)]
        assert all(len(step.subnets) == 1 for step in steps)
        assert len({step.subnets[0].architecture for step in steps}) > 15
        assert all(step.subnets[0].learns_from == "labels" for step in steps)


class TestSandwich(StrategyContract):
    name = "sandwich"

    @pytest.mark.parametrize("num_random", [0, 1, 4])
    def test_a_step_is_the_largest_random_ones_and_the_smallest(self, space, num_random):
        strategy = Sandwich(space, TrainingConfig(num_random=num_random))
        step = strategy.step(context(0.3))
        assert is_sandwich(step, space, num_random)
        assert all(subnet.loss_weight == 1 for subnet in step.subnets)

    def test_random_ones_differ_from_step_to_step(self, strategy):
        steps = [strategy.step(context(0.5, seed)) for seed in range(10)]
        assert len({one for step in steps for one in architectures(step)[1:-1]}) > 15


class TestDelayed(StrategyContract):
    name = "delayed"

    @pytest.fixture
    def config(self):
        return TrainingConfig(strategy="delayed", full_share=0.4, ramp_share=0.2)

    @pytest.mark.parametrize("progress", [0.0, 0.2, 0.3999])
    def test_the_largest_is_alone_at_first(self, space, strategy, progress):
        step = strategy.step(context(progress))
        assert [subnet.role for subnet in step.subnets] == ["largest"]
        assert step.subnets[0].learns_from == "labels"

    @pytest.mark.parametrize(
        ("progress", "weight"),
        [(0.4, EPSILON), (0.5, (1 + EPSILON) / 2), (0.55, 0.75 + EPSILON / 4), (0.6, 1), (0.99, 1)],
    )
    def test_the_others_join_in_by_and_by(self, space, strategy, progress, weight):
        step = strategy.step(context(progress))
        assert is_sandwich(step, space, num_random=2)
        weights = [subnet.loss_weight for subnet in step.subnets]
        assert weights == pytest.approx([1] + [weight] * 3)

    @pytest.mark.parametrize(
        ("progress", "all_trained"), [(0.0, False), (0.59, False), (0.601, True)]
    )
    def test_all_are_trained_once_they_have_all_their_weight(self, strategy, progress, all_trained):
        assert strategy.trains_all(progress) is all_trained

    def test_without_a_ramp_they_join_at_once(self, space):
        config = TrainingConfig(strategy="delayed", full_share=0.4, ramp_share=0)
        step = Delayed(space, config).step(context(0.4))
        assert [subnet.loss_weight for subnet in step.subnets] == [1, 1, 1, 1]


class TestAttentive(StrategyContract):
    name = "attentive"

    def test_a_step_is_a_sandwich(self, space, strategy):
        assert is_sandwich(strategy.step(context(0.5)), space, num_random=2)

    @pytest.mark.parametrize(("attend", "chosen"), [("best", min), ("worst", max)])
    def test_of_like_candidates_the_best_or_the_worst_is_taken(self, space, attend, chosen):
        seen = []

        def judge(population):
            seen.append(population)
            return sum_of_options(population)

        config = TrainingConfig(strategy="attentive", num_random=4, candidates=5, attend=attend)
        step = Attentive(space, config).step(context(0.5, expected_loss=judge))
        (judged,) = seen  # all candidates of a step at once
        groups = judged.reshape(4, 5, space.num_dimensions)
        taken = space.encode_all(architectures(step)[1:-1])
        assert len(taken) == 4
        for genome, group in zip(taken, groups, strict=True):
            assert genome.tolist() in group.tolist()
            assert genome.sum() == chosen(row.sum() for row in group)

    def test_candidates_are_the_nearest_of_the_pool_to_a_drawn_cost(self, space):
        config = TrainingConfig(strategy="attentive", num_random=3, candidates=6)
        seen = []
        judge = lambda population: seen.append(population) or sum_of_options(population)  # noqa: E731
        Attentive(space, config).step(context(0.5, seed=3, expected_loss=judge))
        pool = space.unique(space.sample(3 + 6 * POOL, np.random.default_rng(3)))
        macs = [float(space.layers.costs(row[None]).macs[0]) for row in pool]
        for target, group in zip(macs[:3], seen[0].reshape(3, 6, -1), strict=True):
            nearest = sorted(abs(one - target) for one in macs)[:6]
            found = sorted(abs(space.layers.costs(group).macs - target))
            assert found == nearest
            assert len({row.tobytes() for row in group}) == 6

    def test_costs_are_drawn_as_the_space_has_them(self, space):
        """With one candidate the subnets are those of uniform draws."""
        config = TrainingConfig(strategy="attentive", num_random=4, candidates=1)
        strategy = Attentive(space, config)
        steps = [strategy.step(context(0.5, seed, expected_loss=None)) for seed in range(100)]
        drawn = space.encode_all(one for step in steps for one in architectures(step)[1:-1])
        uniform = space.sample(4000, np.random.default_rng(7))
        shares = np.linspace(0.1, 0.9, 9)
        found, wanted = (np.quantile(space.layers.costs(p).macs, shares) for p in (drawn, uniform))
        spread = wanted[-1] - wanted[0]
        np.testing.assert_allclose(found, wanted, atol=0.15 * spread)

    @pytest.mark.parametrize(("num_random", "candidates"), [(0, 3), (2, 1), (3, 50)])
    def test_extreme_settings(self, space, num_random, candidates):
        config = TrainingConfig(strategy="attentive", num_random=num_random, candidates=candidates)
        assert is_sandwich(Attentive(space, config).step(context(0.5)), space, num_random)


class TestSorted(StrategyContract):
    name = "sorted"

    def test_the_chain_is_nested_and_ends_at_both_ends(self, space):
        chain = nested_chain(space, 8)
        assert len(chain) > 2
        assert chain[0].tolist() == space.smallest()[0].tolist()
        assert chain[-1].tolist() == space.largest()[0].tolist()
        assert all((smaller <= larger).all() for smaller, larger in pairwise(chain))
        assert (np.diff(space.layers.costs(chain).num_params) > 0).all()

    def test_every_dimension_is_at_the_same_share(self):
        space = build_space("vit-digits")  # three options each
        assert [set(row) for row in nested_chain(space, 3)[[0, 2]].tolist()] == [{0}, {2}]
        middle = nested_chain(space, 3)[1]
        assert set(middle[space.active(middle[None])[0]].tolist()) == {1}

    def test_a_step_is_some_of_the_chain_on_labels_the_largest_first(self, space, strategy):
        chain = [space.decode(genome) for genome in nested_chain(space, 8)]
        found = set()
        for seed in range(30):
            step = strategy.step(context(0.5, seed))
            levels = [chain.index(one) for one in architectures(step)]
            assert levels == sorted(set(levels), reverse=True)
            assert len(levels) == 3
            assert all(subnet.learns_from == "labels" for subnet in step.subnets)
            found.update(levels)
        assert found == set(range(len(chain)))

    @pytest.mark.parametrize("num_random", [0, 9])
    def test_more_than_the_chain_or_none_is_refused(self, num_random):
        with pytest.raises(InputError, match=rf"1 and at most 8.*sorted, got {num_random}"):
            TrainingConfig().replaced(strategy="sorted", num_random=num_random)


class TestProgressive(StrategyContract):
    name = "progressive"

    @pytest.fixture
    def config(self):
        """The largest until 0.25; kernel from 0.25, depth from 0.5, expansion from 0.75."""
        return TrainingConfig(strategy="progressive", num_random=40, full_share=0.25)

    @staticmethod
    def options(space, step) -> dict[str, set[int]]:
        """Every option that active dimensions of the step's subnets have, counted from the largest
        (0) downwards, by the last word of the dimension's name.
        """
        found: dict[str, set[int]] = {}
        for architecture in architectures(step):
            for i, dimension in enumerate(space.dimensions):
                if dimension.name in architecture.values:
                    option = dimension.options.index(architecture.values[dimension.name])
                    word = dimension.name.rpartition(".")[2]
                    found.setdefault(word, set()).add(int(space.num_options[i]) - 1 - option)
        return found

    @pytest.mark.parametrize(
        ("progress", "kernels", "depths", "expansions"),
        [
            (0.25, {0, 1}, {0}, {0}),
            (0.3751, {0, 1, 2}, {0}, {0}),
            (0.5, {0, 1, 2}, {0, 1}, {0}),
            (0.6251, {0, 1, 2}, {0, 1, 2}, {0}),
            (0.75, {0, 1, 2}, {0, 1, 2}, {0, 1}),
            (0.8751, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}),
            (0.9999, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}),
        ],
    )
    def test_phases_open_one_after_another_from_the_largest_down(
        self, config, progress, kernels, depths, expansions
    ):
        space = build_space("mobilenet-v3")  # three options of kernels, depths and expansions
        step = Progressive(space, config).step(context(progress))
        found = self.options(space, step)
        assert found["kernel"] == kernels
        assert found["depth"] == depths
        assert found["expansion"] == expansions
        assert len(found["resolution"]) > 15  # of 25

    def test_subnets_learn_from_labels_and_from_the_largest(self, space, strategy):
        largest = space.decode(space.largest()[0])
        for subnet in (step := strategy.step(context(0.9))).subnets:
            assert subnet.learns_from == ("labels" if subnet.architecture == largest else "both")
        assert step.teacher == largest

    def test_the_largest_among_the_drawn_has_no_teacher(self):
        """In a space of few architectures it is drawn first now and then."""
        space = build_space("bert-mini")
        config = TrainingConfig(strategy="progressive", full_share=0)
        steps = [Progressive(space, config).step(context(0.0, seed)) for seed in range(20)]
        largest = [step for step in steps if architectures(step) == [step.teacher]]
        assert largest
        assert all(step.subnets[0].learns_from == "labels" for step in largest)

    def test_the_largest_is_alone_at_first(self, strategy):
        step = strategy.step(context(0.2499))
        assert [one.role for one in step.subnets] == ["largest"]
        assert step.teacher is None

    def test_a_phase_without_dimensions_leaves_its_time_to_the_others(self, config):
        """Residual networks have no kernels to choose: depth from 0.25, expansion from 0.625."""
        strategy = Progressive(space := build_space("resnet-cifar"), config)
        before, after = (
            self.options(space, strategy.step(context(progress))) for progress in (0.62, 0.63)
        )
        assert before["depth"] == after["depth"] == {0, 1, 2, 3}
        assert before["expansion"] == before["width"] == {0}
        assert after["expansion"] == after["width"] == {0, 1}

    @pytest.mark.parametrize("epochs", [1, 2, 3, 10, 40, 100])
    def test_channels_are_sorted_before_the_first_elastic_expansion(self, space, config, epochs):
        strategy = Progressive(space, config)
        (epoch,) = (one for one in range(epochs) if strategy.sorts_channels(one, epochs))
        before, after = (
            self.options(space, strategy.step(context(progress)))
            for progress in (max(epoch / epochs - 1e-9, 0), (epoch + 1) / epochs - 1e-9)
        )
        assert before["expansion"] == {0}
        assert after["expansion"] > {0}

    @pytest.mark.parametrize(("progress", "all_trained"), [(0.5, False), (0.8, False), (0.9, True)])
    def test_all_are_trained_once_every_option_is_open(self, strategy, progress, all_trained):
        assert strategy.trains_all(progress) is all_trained

    def test_channels_are_not_sorted_if_not_wanted(self, space):
        config = TrainingConfig(strategy="progressive", sort_channels=False)
        strategy = Progressive(space, config)
        assert not any(strategy.sorts_channels(epoch, 30) for epoch in range(30))

    def test_no_subnets_are_refused(self):
        with pytest.raises(InputError, match="at least 1 with the strategy progressive, got 0"):
            TrainingConfig().replaced(strategy="progressive", num_random=0)

import math

import pytest
import torch

from nas.training.guard import LEAST, ROLES, SPIKE, WARM_UP, Guard, comparable
from nas.training.strategy import TrainingSubnet
from search_spaces import build_space

CPU = torch.device("cpu")
BAD = (math.nan, math.inf, -math.inf)


def losses_from(start: float, n: int, seed: int = 0) -> list[float]:
    """Slowly falling losses with some noise."""
    noise = torch.rand(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return [start * 0.99**i + 0.1 * one for i, one in enumerate(noise)]


def admitted(guard: Guard, norm: float = 1.0, **losses: float) -> bool:
    verdict = guard.admits({role: torch.tensor(one) for role, one in losses.items()}, norm_of(norm))
    assert verdict.shape == ()
    return bool(verdict)


def norm_of(value: float) -> torch.Tensor:
    return torch.tensor(value)


def warmed_up(*roles: str) -> Guard:
    guard = Guard(CPU)
    for loss in losses_from(2.0, 3 * WARM_UP):
        assert admitted(guard, **dict.fromkeys(roles, loss))
    return guard


@pytest.mark.parametrize("role", ROLES)
def test_numbers_that_are_not_finite_are_never_admitted(role):
    for guard in (Guard(CPU), warmed_up(role)):
        for bad in BAD:
            assert not admitted(guard, **{role: bad})
            assert not admitted(guard, norm=bad, **{role: 1.0})
            assert not admitted(guard, norm=bad)
        assert guard.bad_steps == guard.bad_in_a_row == 9
        assert guard.state.isfinite().all(), "what is remembered stays sound"
        assert admitted(guard, **{role: 1.5})
        assert (guard.bad_in_a_row, guard.bad_steps) == (0, 9)


@pytest.mark.parametrize("role", ROLES)
def test_a_jump_after_the_warm_up_is_not_admitted_and_not_remembered(role):
    guard = warmed_up(role)
    before = guard.state[:-1].clone()
    assert not admitted(guard, **{role: 50.0})
    assert torch.equal(guard.state[:-1], before)
    assert admitted(guard, **{role: 1.2})


def test_what_is_a_jump_follows_from_the_losses_before():
    """By hand: plain means at first; above the mean that the warm-up ended with."""
    guard = Guard(CPU)
    assert all(admitted(guard, largest=loss) for loss in [2.0, 1.0] * (WARM_UP // 2) + [0.1] * 400)
    good, average, deviation, began = guard.state[ROLES.index("largest")].tolist()
    assert good == WARM_UP + 400
    assert average == pytest.approx(math.log(0.1), abs=0.01)
    assert SPIKE * deviation < LEAST
    assert began == pytest.approx(1.5)
    assert admitted(guard, largest=1.4), "far above the average, but training began higher"
    assert not admitted(guard, largest=1.6)


def test_the_spread_of_a_role_decides():
    """The same loss is a jump of what was even and none of what was not."""
    guard = Guard(CPU)
    for i in range(200):
        assert admitted(guard, largest=1.0 + 0.01 * (i % 2), random=2.0 if i % 2 else 0.5)
    assert admitted(guard, random=10.0)
    assert not admitted(guard, largest=10.0)
    assert not admitted(guard, random=1e5)


def test_losses_that_hardly_differ_may_rise_to_five_times_their_average():
    guard = Guard(CPU)
    assert all(admitted(guard, alone=7.0) for _ in range(100))
    assert admitted(guard, alone=34.0)
    guard = Guard(CPU)
    assert all(admitted(guard, alone=7.0) for _ in range(100))
    assert not admitted(guard, alone=36.0)


def test_one_of_several_roles_that_jumps_is_enough():
    guard = warmed_up("largest", "random", "smallest")
    before = guard.state[:-1].clone()
    assert not admitted(guard, largest=1.2, random=50.0, smallest=1.2)
    assert not admitted(guard, largest=1.2, smallest=math.nan)
    assert torch.equal(guard.state[:-1], before), "nothing of such a step is remembered"


def test_roles_are_not_compared_with_each_other():
    """Where small subnets join, their losses are larger at once; that is no fault."""
    guard = warmed_up("largest")
    before = guard.state[ROLES.index("largest")].clone()
    assert all(admitted(guard, random=50.0) for _ in range(100))
    assert torch.equal(guard.state[ROLES.index("largest")], before)
    assert not admitted(guard, largest=200.0)


def test_a_role_that_joins_late_may_still_lose_what_training_began_with():
    """Its first subnets are hardly smaller than the largest; harder ones come later."""
    guard = warmed_up("largest")
    assert all(admitted(guard, random=0.1) for _ in range(100))
    assert admitted(guard, random=1.5)
    assert not admitted(guard, random=3.0)


def test_nothing_is_a_jump_while_warming_up():
    guard = Guard(CPU)
    assert all(admitted(guard, random=loss) for loss in (1.0, 100.0, 1.0, 1e6))


def test_losses_may_be_negative_or_nothing():
    guard = Guard(CPU)
    assert all(admitted(guard, alone=0.5 - 0.01 * i) for i in range(150))
    assert admitted(guard, alone=0.0)
    assert guard.state.isfinite().all()
    assert all(admitted(guard, alone=-1.0) for _ in range(150))
    assert not admitted(guard, alone=100.0)


def test_negative_losses_jump_too():
    guard = Guard(CPU)
    assert all(admitted(guard, alone=-1.0 - 0.01 * (i % 7)) for i in range(100))
    assert admitted(guard, alone=-0.5)
    assert admitted(guard, alone=-50.0)
    assert not admitted(guard, alone=50.0)


def test_only_losses_of_labels_are_compared_one_mean_a_role():
    space = build_space("mobilenet-digits")
    one = space.decode(space.smallest()[0])
    subnets = [
        TrainingSubnet(one, "largest", "labels"),
        TrainingSubnet(one, "random", "both"),
        TrainingSubnet(one, "random", "labels"),
        TrainingSubnet(one, "smallest", "teacher"),
    ]
    found = comparable(subnets, [torch.tensor(loss) for loss in (1.0, 2.0, 4.0, 8.0)])
    assert {role: loss.item() for role, loss in found.items()} == {"largest": 1.0, "random": 3.0}

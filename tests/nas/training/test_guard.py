import torch

from nas.training.guard import SPIKE, WARM_UP, Guard

CPU = torch.device("cpu")


def losses_from(start: float, n: int) -> list[float]:
    """Slowly falling losses with some noise."""
    noise = torch.rand(n, generator=torch.Generator().manual_seed(0)).tolist()
    return [start * 0.99**i + 0.1 * one for i, one in enumerate(noise)]


def admitted(guard: Guard, loss: float, norm: float = 1.0, comparable: bool = True) -> bool:
    return bool(guard.admits(torch.tensor(loss), torch.tensor(norm), comparable))


def warmed_up() -> Guard:
    guard = Guard(CPU)
    assert all(admitted(guard, loss) for loss in losses_from(2.0, 3 * WARM_UP))
    return guard


def test_numbers_that_are_not_finite_are_never_admitted():
    for guard in (Guard(CPU), warmed_up()):
        for comparable in (True, False):
            for bad in (float("nan"), float("inf"), -float("inf")):
                assert not admitted(guard, bad, comparable=comparable)
                assert not admitted(guard, 1.0, bad, comparable)
        assert guard.bad_steps == guard.bad_in_a_row == 12
        assert guard.state.isfinite().all(), "what is remembered stays sound"
        assert admitted(guard, 1.5)
        assert (guard.bad_in_a_row, guard.bad_steps) == (0, 12)


def test_a_jump_after_the_warm_up_is_not_admitted_and_not_remembered():
    guard = warmed_up()
    before = guard.state[:4].clone()
    assert not admitted(guard, 50.0)
    assert torch.equal(guard.state[:4], before)
    assert admitted(guard, 1.2)


def test_what_is_a_jump_follows_from_the_losses_before():
    """By hand: averages over all steps at first, and above the mean that the warm-up ended with."""
    steady = [2.0, 1.0] * (WARM_UP // 2) + [0.5] * 200
    guard = Guard(CPU)
    assert all(admitted(guard, loss) for loss in steady)
    average, deviation, first = guard.state[1:4].tolist()
    assert abs(first - 1.5) < 0.1
    assert abs(average - 0.5) < 0.05
    assert average + SPIKE * deviation < 1.4, "only what training began with is in the way"
    assert admitted(guard, 1.3)
    assert not admitted(guard, 1.7)


def test_nothing_is_a_jump_while_warming_up():
    guard = Guard(CPU)
    assert all(admitted(guard, loss) for loss in (1.0, 100.0, 1.0, 1e6))


def test_losses_of_other_subnets_are_not_compared():
    """Where small subnets join, losses are larger at once; that is no fault."""
    guard = warmed_up()
    before = guard.state[:4].clone()
    assert all(admitted(guard, 50.0, comparable=False) for _ in range(100))
    assert torch.equal(guard.state[:4], before)
    assert not admitted(guard, 50.0)

import pytest
import torch

from nas.subnet.one_shot import OneShot, OneShotRow, network_itself
from nas.task import Score

LARGEST = OneShotRow("abc", 1, 1, validation_accuracy=0.9, validation_loss=0.3)


@pytest.mark.parametrize(("accuracy", "otherwise"), [(0.1, True), (0.88, False), (0.95, False)])
def test_a_network_far_below_its_calibrated_self_is_fed_otherwise(accuracy, otherwise):
    itself = Score(accuracy, 1.0, (accuracy, accuracy), (1.0, 1.0))
    assert OneShot("accuracy", 100, (LARGEST,), itself).is_fed_otherwise is otherwise


def test_weights_without_statistics_say_nothing_of_it():
    assert not OneShot("accuracy", 100, (LARGEST,)).is_fed_otherwise


def test_the_network_itself_keeps_its_statistics(finished):
    """Own families have none of their own: means of 0, and so another answer than calibrated."""
    from nas.artifacts import load_supernet, subnet_evaluator

    run = finished.open()
    supernet = load_supernet(run)
    evaluator = subnet_evaluator(run, supernet)
    largest = run.space.decode(run.space.largest()[0])
    expected = evaluator.score(supernet.extract(largest).eval(), largest, "validation")
    assert network_itself(evaluator, supernet) == expected
    calibrated = evaluator.score(evaluator.subnet(largest), largest, "validation")
    assert calibrated.loss != pytest.approx(expected.loss)
    assert torch.isfinite(torch.tensor(expected.loss))

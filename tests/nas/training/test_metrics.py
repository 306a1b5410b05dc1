"""Which records count after roll-backs."""

import pytest

from nas.training.metrics import epoch_records, event_records
from search_spaces import InputError
from tests.nas.training.small_training import CONFIG
from tests.nas.training.small_training import SmallTraining as Training


def epoch(number: int, loss: float) -> dict:
    return {"epoch": number, "loss": loss}


def roll_back(during: int, to: int) -> dict:
    return {"event": "roll-back", "epoch": during, "to_epoch": to, "reason": "a test"}


FIRST, SECOND, THIRD, FOURTH = (epoch(number, 1 / number) for number in range(1, 5))
SKIPPED = {"event": "skipped", "epoch": 2, "steps": 1}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], []),
        ([FIRST, SKIPPED, SECOND], [FIRST, SECOND]),
        ([FIRST, SECOND, THIRD, roll_back(4, 2)], [FIRST, SECOND]),
        ([FIRST, SECOND, roll_back(3, 2), THIRD], [FIRST, SECOND, THIRD]),
        ([FIRST, roll_back(2, 0)], []),
        (
            [FIRST, SECOND, epoch(3, 9.0), roll_back(4, 2), epoch(3, 8.0), roll_back(4, 2), THIRD],
            [FIRST, SECOND, THIRD],
        ),
        (
            [epoch(1, 9.0), epoch(2, 9.0), roll_back(3, 0), FIRST, SECOND, THIRD, FOURTH],
            [FIRST, SECOND, THIRD, FOURTH],
        ),
    ],
)
def test_what_a_roll_back_went_behind_does_not_count(records, expected):
    assert epoch_records(records) == expected
    assert event_records(records) == [record for record in records if "event" in record]


def test_a_training_that_ends_after_roll_backs_has_the_records_of_its_weights(
    tmp_path, space, bars
):
    """Looked at every second epoch: the third is recorded, lost with the fourth, and trained anew
    from other draws.
    """
    config = CONFIG.replaced(num_random=0, batch_size=64, epochs=4, evaluate_every=2)
    falls = lambda roll_backs, at: 0.3 if at == 4 and roll_backs < 2 else 0.9  # noqa: E731
    training = Training(tmp_path, space, bars, config, accuracies=falls)
    training.go_on()
    records = training.metrics.read()
    thirds = [record for record in records if record["epoch"] == 3 and "event" not in record]
    assert len(thirds) == 3
    assert len({record["loss"] for record in thirds}) == 3
    found = epoch_records(records)
    assert [record["epoch"] for record in found] == [1, 2, 3, 4]
    assert found[2] == thirds[-1]


def test_a_training_that_is_given_up_has_no_record_of_what_was_lost(tmp_path, space, bars):
    config = CONFIG.replaced(num_random=0, batch_size=128, epochs=4, evaluate_every=2)
    falls = lambda _, at: 0.3 if at == 4 else 0.9  # noqa: E731
    training = Training(tmp_path, space, bars, config, accuracies=falls)
    with pytest.raises(InputError, match="roll-backs"):
        training.go_on()
    numbers = [record["epoch"] for record in epoch_records(training.metrics.read())]
    assert numbers == [1, 2, 3], "the last attempt's third has no roll-back behind it"

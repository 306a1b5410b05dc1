"""A step never waits for the device: it reads back nothing that it computed there.

The device of these tests is torch's `meta`, which has shapes and no values: reading one back, as
`float`, `bool` and `.item` do, is an error there, and so is mixing its tensors with those of the
CPU. Of a GPU, both would be a wait and an error.
"""

import pytest
import torch

from nas.append_log import AppendLog
from nas.config import TrainingConfig
from nas.task import Task
from nas.training import STRATEGIES, steps
from nas.training.trainer import Trainer
from search_spaces import build_space
from search_spaces.supernet import Supernet

READS_LOSSES = "attentive"  # to choose among candidates
NOWHERE = torch.device("meta")


def train_an_epoch(folder, space, data, config, monkeypatch) -> tuple[Trainer, list]:
    """Train with all that is computed on a device without values; return the verdicts on steps."""
    taken = []
    monkeypatch.setattr(steps, "take_step", lambda optimizer, admitted: taken.append(admitted))
    one = Trainer(
        Supernet(space),
        data,
        Task(),
        config,
        0,
        STRATEGIES[config.strategy](space, config),
        checkpoint_path=folder / "checkpoint.safetensors",
        metrics=AppendLog(folder / "metrics.jsonl"),
        evaluate=lambda supernet: {},
        device=NOWHERE,
    )
    assert one._train_epoch(lambda done, note: None) is None
    return one, taken


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != READS_LOSSES])
def test_a_step_of_any_strategy_reads_nothing_back(tmp_path, space, bars, strategy, monkeypatch):
    config = TrainingConfig(strategy=strategy, epochs=2, dropout=0.1, flip=True)
    one, taken = train_an_epoch(tmp_path, space, bars, config, monkeypatch)
    assert len(taken) == one.steps_per_epoch == 4
    assert {admitted.device for admitted in taken} == {NOWHERE}
    assert one._steps.guard.state.device == NOWHERE
    gradients = [p.grad for p in one.supernet.parameters() if p.grad is not None]
    assert gradients
    assert {gradient.device for gradient in gradients} == {NOWHERE}


def test_neither_does_what_drops_paths(tmp_path, bars, monkeypatch):
    space = build_space("nasnet-digits", num_classes=bars.num_classes)
    config = TrainingConfig(epochs=2, batch_size=64, num_random=0, drop_path=0.2)
    _, taken = train_an_epoch(tmp_path, space, bars, config, monkeypatch)
    assert len(taken) == 2

import json

import numpy as np
import pytest
import torch

from nas.append_log import AppendLog
from nas.subnet.proxy_scores import ProxyScores, drawn_batch
from nas.task import Task
from predictors.zero_cost import Batch, fresh_network, proxy_scores
from search_spaces import InputError, build_space
from search_spaces.supernet import Supernet, resize

NAMES = ("parameters", "naswot", "snip")
NUM_SUBNETS = 4


@pytest.fixture
def log(tmp_path):
    return AppendLog(tmp_path / "zero_cost.jsonl")


@pytest.fixture(scope="module")
def batch(bars):
    return drawn_batch(bars, Task(), seed=0, size=8)


@pytest.fixture(scope="module")
def population(space):
    return space.sample_distinct(NUM_SUBNETS, np.random.default_rng(0))


def values(rows):
    return np.array([[record.score for record in row] for row in rows])


def test_scores_are_those_of_fresh_networks_on_the_batch_at_their_size(
    space, population, batch, log
):
    found = values(ProxyScores(space, batch, log, seed=3)(population, NAMES))
    for genome, row in zip(population, found, strict=True):
        module = fresh_network(space, space.decode(genome), 3)
        inputs = resize(batch.inputs, space.layers.network(genome).inputs.values())
        own = Batch(inputs, batch.targets, batch.loss)
        assert proxy_scores(module, own, NAMES, 3) == dict(zip(NAMES, row, strict=True))
    costs = space.layers.costs(population)
    np.testing.assert_array_equal(found[:, 0], costs.num_params)


def test_a_batch_follows_the_seed(bars):
    first, again, other = (drawn_batch(bars, Task(), seed, 8) for seed in (0, 0, 1))
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.inputs[0], other.inputs[0])
    assert len(first) == 8
    assert len(drawn_batch(bars, Task(), 0, 10_000)) == len(bars.train)


@pytest.mark.parametrize("torn", [b"", b'{"architecture_id": "5'])
def test_only_what_the_log_lacks_is_scored(space, population, batch, log, torn):
    whole = values(ProxyScores(space, batch, log, seed=0)(population, NAMES))
    assert len(log.read()) == whole.size
    log.keep_first(5)
    kept = log.read()
    with log.path.open("ab") as file:
        file.write(torn)
    again = ProxyScores(space, batch, log, seed=0)
    np.testing.assert_array_equal(values(again(population, NAMES)), whole)
    np.testing.assert_array_equal(values(again(population[::-1], NAMES)), whole[::-1])
    assert log.read()[:5] == kept
    assert len(log.read()) == whole.size


def test_other_seeds_batches_and_weights_are_kept_apart(space, population, batch, bars, log):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(space)
    other = drawn_batch(bars, Task(), seed=1, size=8)
    scorers = [
        ProxyScores(space, batch, log, seed=0),
        ProxyScores(space, batch, log, seed=1),
        ProxyScores(space, other, log, seed=0),
        ProxyScores(space, batch, log, seed=0, supernet=(supernet, "a" * 64)),
    ]
    found = [values(scorer(population[:1], ["snip"])).item() for scorer in scorers]
    assert len(set(found)) == len(found)
    assert [record["weights"] for record in log.read()] == [*["first"] * 3, "a" * 64]
    again = ProxyScores(space, batch, log, seed=0, supernet=(supernet, "a" * 64))
    assert values(again(population[:1], ["snip"])).item() == found[-1]
    assert len(log.read()) == len(found)


def test_equal_networks_are_scored_once(bars, log, batch):
    cells = build_space("nasbench201-digits", num_classes=4)
    texts = [
        "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
        "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
    ]
    population = cells.encode_all(map(cells.parse, texts))
    rows = ProxyScores(cells, batch, log, seed=0)(population, ["naswot"])
    assert rows[0] == rows[1]
    assert len(log.read()) == 1


def test_an_encoding_has_a_column_a_proxy(space, population, batch, log):
    scorer = ProxyScores(space, batch, log, seed=0)
    encode = scorer.encoding(NAMES)
    found = encode(population)
    np.testing.assert_allclose(np.sinh(found), values(scorer(population, NAMES)))
    np.testing.assert_array_equal(encode(population[[2, 0, 2]]), found[[2, 0, 2]])
    assert encode(population[:0]).shape == (0, len(NAMES))


@pytest.mark.parametrize("change", [{"score": None}, {"values": {"width": 0.123}}, {"proxy": 3}])
def test_damaged_records_are_refused(space, population, batch, log, change):
    ProxyScores(space, batch, log, seed=0)(population[:2], ["parameters"])
    first, second = log.path.read_text().splitlines()
    log.path.write_text(json.dumps({**json.loads(first), **change}) + f"\n{second}\n")
    with pytest.raises(InputError, match=r"zero_cost\.jsonl"):
        ProxyScores(space, batch, log, seed=0)

import numpy as np
import pytest
import torch

from nas.exporting.gate import check_parity, other_sizes, supernet_parity
from nas.exporting.parity import LIMIT, ParityError, compare, gate, run_onnx
from search_spaces.layer_kind import TensorSpec


def compare_logits(found, reference):
    return compare({"logits": found}, {"logits": reference})


def logits(n: int = 1000, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(0).uniform(-1, 1, (n, 10)).astype(np.float32)
    return values / np.abs(values).max() * scale


def test_equal_logits_agree():
    parity = compare_logits(logits(), logits())
    assert (parity.max_abs_difference, parity.top1_agreement, parity.n) == (0.0, 1.0, 1000)
    assert parity.ok


@pytest.mark.parametrize("scale", [0.1, 1.0, 50.0])
def test_the_limit_grows_with_the_logits_beyond_one(scale):
    reference = logits(scale=scale)
    limit = LIMIT * max(1.0, scale)
    assert compare_logits(reference, reference).limit == pytest.approx(limit)
    for share, ok in ((0.9, True), (1.2, False)):
        off = reference.copy()
        off[3, reference[3].argmin()] += share * limit
        assert compare_logits(off, reference).ok is ok


def test_one_in_a_thousand_may_change_its_class():
    reference = np.zeros((2000, 2), np.float32)
    reference[:, 0] = 1e-6
    for changed, ok in ((2, True), (3, False)):
        found = reference.copy()
        found[:changed] = found[:changed, ::-1]
        parity = compare_logits(found, reference)
        assert parity.top1_agreement == pytest.approx(1 - changed / 2000)
        assert parity.ok is ok


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_does_not_agree(value):
    broken = logits()
    broken[0, 0] = value
    with pytest.raises(ParityError, match="finite"):
        compare_logits(broken, logits())
    with pytest.raises(ParityError, match="finite"):
        compare_logits(logits(), broken)


def test_nothing_to_compare_does_not_agree():
    empty = np.zeros((0, 10), np.float32)
    with pytest.raises(ParityError, match="expected outputs"):
        compare_logits(empty, empty)


def test_other_shapes_do_not_agree():
    with pytest.raises(ParityError, match="expected outputs"):
        compare_logits(logits()[:, :1], logits())


def test_the_gate_names_the_first_that_fails():
    good, bad = compare_logits(logits(), logits()), compare_logits(-logits(), logits())
    gate([("first", good)])
    with pytest.raises(ParityError, match=r"^second: outputs differ by"):
        gate([("first", good), ("second", bad), ("third", bad)])


def test_of_several_outputs_the_one_closest_to_its_limit_counts():
    reference = {"a": logits(), "b": logits(scale=50.0)}
    off = {"a": logits() + np.float32(0.5 * LIMIT), "b": reference["b"] + np.float32(0.9 * LIMIT)}
    parity = compare(off, reference, classification=False)
    assert parity.max_abs_difference == pytest.approx(0.5 * LIMIT, rel=0.01)
    assert parity.top1_agreement is None
    assert parity.ok
    off["b"] = reference["b"] + np.float32(60 * LIMIT)
    assert not compare(off, reference, classification=False).ok


def test_outputs_of_other_names_do_not_agree():
    with pytest.raises(ParityError, match="expected outputs"):
        compare({"a": logits()}, {"b": logits()})
    with pytest.raises(ParityError, match="expected outputs"):
        compare({}, {})


def test_a_class_says_nothing_where_outputs_are_no_classes():
    reference = np.zeros((1000, 2), np.float32)
    reference[:, 0] = 1e-6
    parity = compare({"y": reference[:, ::-1]}, {"y": reference}, classification=False)
    assert parity.top1_agreement is None
    assert parity.ok


def test_axes_of_free_size_are_tried_at_half_of_it():
    specs = [TensorSpec((3, 10), free=(1,)), TensorSpec((5,), "int64")]
    long, fixed = torch.arange(60.0).view(2, 3, 10), torch.arange(10).view(2, 5)
    shorter, same = other_sizes((long, fixed), specs)
    assert torch.equal(shorter, long[:, :, :5])
    assert torch.equal(same, fixed)
    assert other_sizes((fixed,), specs[1:]) is None


# --- on networks ----------------------------------------------------------------------------------


def test_supernet_subnet_and_file_agree_at_batch_1_and_a_larger_one(
    in_memory, supernet, evaluator, bars
):
    parities = check_parity(in_memory, supernet, evaluator)
    assert set(parities) == {"supernet", "model.onnx batch 1", "model.onnx batch 64"}
    assert all(parity.ok for parity in parities.values())
    assert parities["model.onnx batch 1"].n == len(bars.validation)
    assert parities["supernet"].n >= 8


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_files_answer_alike_at_any_batch_size(in_memory, evaluator, architecture, size):
    (images,) = evaluator.inputs("validation", architecture)
    with torch.no_grad():
        expected = in_memory.subnet(images).numpy()
    found = run_onnx(in_memory.model, {"input": images.numpy()}, size)
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"], expected, atol=1e-4)


def test_a_file_of_other_inputs_is_refused(in_memory):
    with pytest.raises(ParityError, match="inputs"):
        run_onnx(in_memory.model, {"ids": np.zeros((2, 3), np.int64)}, 1)


def test_comparing_leaves_the_norm_statistics(in_memory, supernet, evaluator, architecture):
    before = {name: value.clone() for name, value in in_memory.subnet.state_dict().items()}
    supernet_parity(supernet, in_memory, evaluator.inputs("validation", architecture))
    assert all(
        torch.equal(value, before[name]) for name, value in in_memory.subnet.state_dict().items()
    )
    assert not in_memory.subnet.training


def perturb(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.01)
                parameter.view(-1)[0] += 0.05


def test_a_supernet_that_moved_on_is_caught(in_memory, supernet, evaluator):
    perturb(supernet)
    with pytest.raises(ParityError, match=r"^supernet: "):
        check_parity(in_memory, supernet, evaluator)


def test_a_subnet_that_is_not_its_file_is_caught(in_memory, supernet, evaluator):
    with torch.no_grad():
        for name, value in in_memory.subnet.named_buffers():
            if name.endswith("running_mean"):
                value.add_(0.05)  # in training mode, as against the supernet, this does not show
    with pytest.raises(ParityError, match=r"^model\.onnx"):
        check_parity(in_memory, supernet, evaluator)

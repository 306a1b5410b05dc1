from types import SimpleNamespace

import pytest

from nas.exporting.precisions import Converted
from nas.exporting.precisions.compare import compare_precisions
from search_spaces import InputError
from tests.nas.exporting.precisions.networks import agreement, small_network


def timing(latency_ms: float, noise: float = 0.01) -> SimpleNamespace:
    return SimpleNamespace(latency_ms=latency_ms, typical_ms=latency_ms * (1 + noise), noise=noise)


def compared(timings: dict[str, SimpleNamespace], accuracies: dict[str, float], **more):
    """Compare stand-ins of files: a precision's model is its name."""
    models = {name: Converted(name, name.encode()) for name in timings} | more
    return compare_precisions(
        models,
        lambda model: accuracies[model.decode()],
        measure=lambda found, *where: [timings[model.decode()] for model in found],
    )


def test_int8_is_taken_where_it_is_faster_and_as_accurate():
    timings = {"fp32": timing(1.0), "int8": timing(0.6)}
    result = compared(timings, {"fp32": 0.9, "int8": 0.898})
    assert result.recommended == "int8"
    row = result.row("int8")
    assert row.latency_ratio == pytest.approx(0.6)
    assert row.accuracy_drop == pytest.approx(0.002)
    assert "0.60 of fp32's latency" in result.reason


def test_int8_that_is_not_faster_by_more_than_the_noise_is_not_taken():
    result = compared(
        {"fp32": timing(1.0), "int8": timing(0.9, noise=0.12)}, {"fp32": 0.9, "int8": 0.9}
    )
    assert result.recommended == "fp32"
    assert "not faster by more than the noise" in result.reason


def test_int8_that_loses_too_much_is_not_taken():
    result = compared({"fp32": timing(1.0), "int8": timing(0.5)}, {"fp32": 0.9, "int8": 0.89})
    assert result.recommended == "fp32"
    assert "loses 1.00 points of accuracy, more than 0.50" in result.reason


def test_the_fastest_of_several_is_taken():
    timings = {"fp32": timing(1.0), "fp16": timing(0.5), "int8": timing(0.6)}
    result = compared(timings, dict.fromkeys(timings, 0.9))
    assert result.recommended == "fp16"
    assert result.reason.startswith("fp16")


def test_a_precision_that_cannot_be_had_is_a_row_with_the_reason():
    result = compared({"fp32": timing(1.0)}, {"fp32": 0.9}, bf16="no kernels")
    assert result.row("bf16").note == "no kernels"
    assert result.row("bf16").latency_ms is None
    assert result.recommended == "fp32"


def test_fp32_must_be_among_them():
    with pytest.raises(InputError, match="expected fp32"):
        compared({"int8": timing(1.0)}, {"int8": 0.9})


def test_an_absent_provider_is_refused():
    model, samples = small_network("resnet-digits")
    with pytest.raises(InputError, match="NoSuchProvider"):
        compare_precisions(
            {"fp32": Converted("fp32", model)},
            agreement(model, samples),
            provider="NoSuchProvider",
        )


def test_files_are_measured_here():
    model, samples = small_network("resnet-digits")
    models = {"fp32": Converted("fp32", model)}
    result = compare_precisions(models, agreement(model, samples))
    row = result.row("fp32")
    assert row.latency_ms > 0
    assert row.latency_ratio == 1
    assert (row.accuracy, row.size_bytes) == (1, len(model))

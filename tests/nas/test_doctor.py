"""What `nas doctor` says of exporting TensorRT engines."""

import pytest

from nas import doctor
from nas.doctor import diagnose, doctor_table, tensorrt_export_lacks


@pytest.fixture
def machine(monkeypatch):
    """Set what is there: versions by library, and the driver's."""

    def set_up(versions, driver):
        monkeypatch.setattr(doctor, "_version", versions.get)
        monkeypatch.setattr(doctor, "find_spec", lambda name: None)
        monkeypatch.setattr(doctor, "driver_version", lambda: driver)

    return set_up


def test_nothing_is_lacking(machine):
    machine({"tensorrt": "11.4.0.106", "torch": "2.13.0+cu130"}, "580.65.06")
    assert tensorrt_export_lacks() == []


@pytest.mark.parametrize(
    ("versions", "driver", "words"),
    [
        ({"torch": "2.13.0"}, "580.65.06", 'the extra "tensorrt": pip install'),
        ({"torch": "2.13.0", "tensorrt": "11.4"}, "unknown", "an NVIDIA GPU"),
        ({"torch": "2.13.0+cpu", "tensorrt": "11.4"}, "580.65.06", "built with CUDA"),
        ({"tensorrt": "11.4"}, "580.65.06", "built with CUDA"),
    ],
)
def test_what_is_lacking_is_named(machine, versions, driver, words):
    machine(versions, driver)
    (lack,) = tensorrt_export_lacks()
    assert words in lack


def test_the_table_tells_it():
    diagnosis = diagnose()
    assert diagnosis["tensorrt_export_lacks"] == tensorrt_export_lacks()
    for lacks, words in ((["a GPU", "a driver"], "lacks a GPU; a driver"), ([], "possible")):
        table = doctor_table({**diagnosis, "tensorrt_export_lacks": lacks})
        rows = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
        assert rows["TensorRT export"] == words

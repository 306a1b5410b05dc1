"""How an exported folder appears whole."""

from pathlib import Path

import pytest

from nas.exporting.folder import write_folder


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    folder, rename = tmp_path / "subnet", Path.replace
    write_folder(folder, {"model.onnx": b"first"})

    def fail_on_the_new_one(path, target):
        if path.name.endswith(".new.tmp"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", fail_on_the_new_one)
    with pytest.raises(OSError, match="Input/output error"):
        write_folder(folder, {"model.onnx": b"second"})
    assert [path.name for path in tmp_path.iterdir()] == ["subnet"]
    assert (folder / "model.onnx").read_bytes() == b"first"

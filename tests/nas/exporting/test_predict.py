"""`predict.py` of an exported folder, as a deployer runs it: no module of ours, no torch."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.exporting import predict
from nas.exporting.manifest import Manifest

SOURCE = Path(predict.__file__)


def ask(folder: Path, *arguments: object, interpreter: str = sys.executable, isolated=True):
    """Run it in an empty folder; (code, stdout, stderr)."""
    command = [interpreter, *(["-I"] if isolated else []), folder / "predict.py"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    environment |= {"PYTHONWARNINGS": "ignore"}
    result = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder.parent,
        timeout=600,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def rows(folder: Path, *arguments: object, **settings):
    code, out, err = ask(folder, *arguments, "--json", **settings)
    assert code == 0, err
    return json.loads(out)["predictions"]


def test_it_is_short_and_of_python_3_8():
    text = SOURCE.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    described = len(ast.get_docstring(tree, clean=False).splitlines())
    assert len([line for line in text.splitlines() if line.strip()]) - described < 60
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    }
    assert imported == {"argparse", "json", "re", "pathlib", "numpy", "onnxruntime", "PIL"}


def test_folders_hold_these_very_bytes(further_folder):
    assert (further_folder / "predict.py").read_bytes() == SOURCE.read_bytes()


def test_every_model_file_answers_the_samples_alike(further_folder):
    with np.load(further_folder / "reference.npz") as reference:
        expected = reference["outputs.logits"]
    manifest = Manifest.load(further_folder / "manifest.json")
    assert len(manifest.models) == 5
    for name in manifest.models:
        found = rows(further_folder, further_folder / "sample.npz", "--model", name, "--top", 2)
        outputs = np.array([row["outputs"][0] for row in found])
        np.testing.assert_allclose(outputs, expected, atol=1e-3)
        assert [row["sample"] for row in found] == list(range(len(expected)))
        for row, logits in zip(found, expected, strict=True):
            (first, share), (_, less) = row["classes"]
            assert first == manifest.class_names[logits.argmax()]
            shares = np.exp(logits - logits.max())
            assert share == pytest.approx(float(shares.max() / shares.sum()), abs=1e-3)
            assert share >= less


@pytest.fixture(scope="module")
def pictures(further_folder, tmp_path_factory) -> dict[str, Path]:
    """The first sample in every form."""
    folder = tmp_path_factory.mktemp("pictures")
    with np.load(further_folder / "sample.npz") as samples:
        image = samples["x"][0]
    height, width, _ = image.shape
    Image.fromarray(image[..., 0]).save(folder / "a.png")
    Image.fromarray(image[..., 0]).convert("RGB").save(folder / "colours.png")
    np.save(folder / "a.npy", image)
    np.save(folder / "flat.npy", image[..., 0])
    np.savez(folder / "a.npz", x=image[None], y=np.array([1]))
    header = f"P5\n# made by hand\n{width} {height}\n255\n"
    (folder / "a.pgm").write_bytes(header.encode() + image.tobytes())
    return {path.name: path for path in folder.iterdir()}


def test_an_image_in_every_form_gives_one_answer(further_folder, pictures):
    found = rows(further_folder, *pictures.values())
    assert [row["file"] for row in found] == [str(path) for path in pictures.values()]
    (first,) = (row for row in found if row["file"].endswith("a.npz"))
    for row in found:
        np.testing.assert_allclose(row["outputs"], first["outputs"], atol=1e-5)


def test_images_of_other_sizes_are_resized(further_folder, pictures, tmp_path):
    image = np.load(pictures["flat.npy"])
    np.save(tmp_path / "large.npy", np.kron(image, np.ones((4, 4), np.uint8)))
    (plain,) = rows(further_folder, pictures["a.npy"])
    (large,) = rows(further_folder, tmp_path / "large.npy")
    pixels = rows(further_folder, tmp_path / "large.npy", "--model", "model.pixels.onnx")
    assert large["outputs"] != plain["outputs"]
    np.testing.assert_allclose(pixels[0]["outputs"], plain["outputs"], atol=1.0)


def test_text_names_file_and_classes(further_folder, pictures):
    code, out, _ = ask(further_folder, pictures["a.png"])
    assert code == 0
    name, sample, *told = out.split()
    assert (name, sample) == (str(pictures["a.png"]), "0")
    assert len(told) == 6
    assert set(told[::2]) <= set("0123456789")


def test_numbers_that_are_no_pixels_are_refused(further_folder, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((8, 8), np.float32))
    code, _, err = ask(further_folder, tmp_path / "a.npy")
    assert code != 0
    assert "uint8, 0 to 255, got float32" in err


# --- the other modalities -------------------------------------------------------------------------


def test_sequences_are_normalised_by_feature():
    steps = {"kind": "sequence", "mean": [1.0, 2.0], "std": [2.0, 4.0]}
    inputs = {"input": {"shape": [2, 3], "dtype": "float32"}}
    sequence = np.arange(6, dtype=np.float64).reshape(2, 3)
    expected = (sequence - [[1.0], [2.0]]) / [[2.0], [4.0]]
    for given in (sequence, sequence[None]):
        (found,) = predict.prepare([given], steps, inputs).values()
        assert found.shape == (1, 2, 3)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_tokens_have_a_mask_given_or_not():
    inputs = {name: {"shape": [4], "dtype": "int64"} for name in ("ids", "mask")}
    ids, mask = np.array([[1, 7, 0, 0]], np.int32), np.array([[1, 1, 1, 0]], np.uint8)
    found = predict.prepare([ids, mask], {"kind": "tokens"}, inputs)
    assert {name: one.tolist() for name, one in found.items()} == {
        "ids": [[1, 7, 0, 0]],
        "mask": [[1, 1, 1, 0]],
    }
    found = predict.prepare([ids[0]], {"kind": "tokens"}, inputs)
    assert found["mask"].tolist() == [[1, 1, 0, 0]]
    assert all(one.dtype == np.int64 for one in found.values())


# --- another architecture -------------------------------------------------------------------------


@pytest.mark.slow
def test_it_answers_on_another_architecture(further_folder):
    """`ARM64_PYTHON` starts Python scripts there, with numpy and onnxruntime and nothing else."""
    interpreter = os.environ.get("ARM64_PYTHON")
    if not interpreter:
        pytest.skip("ARM64_PYTHON names no interpreter for another architecture")
    there = {"interpreter": interpreter, "isolated": False}
    for name in Manifest.load(further_folder / "manifest.json").models:
        arguments = (further_folder, further_folder / "sample.npz", "--model", name)
        here, elsewhere = rows(*arguments), rows(*arguments, **there)
        for one, other in zip(here, elsewhere, strict=True):
            np.testing.assert_allclose(one["outputs"], other["outputs"], atol=1e-3)

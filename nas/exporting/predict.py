"""Answers images, sequences or tokens with a model beside this file; needs numpy and onnxruntime.

python predict.py FILE ... [--model model.onnx] [--top 3] [--json]     FILE: png or jpg (where
pillow is), ppm, pgm; npy of one sample or several; npz of x, or of ids and mask (0 and 1).
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime


def read(path, channels):  # the arrays of one sample or several, as they are
    if path.endswith((".npz", ".npy")):
        found, names = np.load(path, allow_pickle=False), ("ids", "mask", "x")
        return [found] if path.endswith(".npy") else [found[n] for n in names if n in found]
    if path.endswith((".ppm", ".pgm")):
        found = re.match(rb"P[56]\s(?:#.*\s)*(\d+)\s+(\d+)\s+255\s", Path(path).read_bytes())
        pixels = np.frombuffer(found.string, np.uint8, -1, found.end())
        return [pixels.reshape(int(found[2]), int(found[1]), -1)]
    from PIL import Image  # png and jpg alone need it

    return [np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))]


def resized(x, sizes):  # n x channels x height x width; bilinear, antialiased
    for axis, old, new in zip((2, 3), x.shape[2:], sizes):
        distance = np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * old / new
        share = np.maximum(0, 1 - abs(distance) / max(old / new, 1)).astype(np.float32)
        share /= share.sum(axis=1, keepdims=True)
        x = x if old == new else np.moveaxis(np.moveaxis(x, axis, 3) @ share.T, 3, axis)
    return x


def prepare(arrays, steps, inputs):  # what the model takes, by name
    name, x, shape = next(iter(inputs)), arrays[0], next(iter(inputs.values()))["shape"]
    if steps["kind"] == "tokens":
        return dict(zip(inputs, [np.atleast_2d(one).astype(np.int64) for one in (*arrays, x != 0)]))
    mean, std = (np.float32(steps[key])[:, None] for key in ("mean", "std"))
    if steps["kind"] == "sequence":
        return {name: (x.reshape(-1, *x.shape[-2:]).astype(np.float32) - mean) / std}
    assert x.dtype == np.uint8, "expected pixels as uint8, 0 to 255, got %s" % x.dtype
    x = x if x.shape[-1] in (1, 3) else x[..., None]  # height x width without channels
    x = x.reshape(-1, *x.shape[-3:]).transpose(0, 3, 1, 2).astype(np.float32)
    if inputs[name]["dtype"] == "uint8":  # the model normalises, and resizes to its own size
        return {name: np.rint(resized(x, shape[:2])).astype(np.uint8).transpose(0, 2, 3, 1)}
    return {name: resized((x / 255 - mean[..., None]) / std[..., None], shape[1:])}


if __name__ == "__main__":
    parser, here = argparse.ArgumentParser(description=__doc__), Path(__file__).resolve().parent
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="model.onnx")
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked, manifest = parser.parse_args(), json.loads((here / "manifest.json").read_bytes())
    model, steps, rows = manifest["models"][asked.model], manifest["preprocessing"], []
    session = onnxruntime.InferenceSession(str(here / asked.model), None, [model["provider"]])
    for path in asked.files:
        feeds = prepare(read(path, steps.get("channels")), steps, model["inputs"])
        for i in range(len(next(iter(feeds.values())))):
            sample = {k: np.repeat(v[i : i + 1], model["batch"] or 1, 0) for k, v in feeds.items()}
            found = [one[0].tolist() for one in session.run(None, sample)]
            rows.append({"file": path, "sample": i, "outputs": found})
            if manifest["classification"]:
                share, names = np.exp(found[0] - np.max(found[0])), manifest["class_names"]
                best = [(k, float(share[k] / share.sum())) for k in np.argsort(-share)]
                rows[-1]["classes"] = [[names[k], round(one, 4)] for k, one in best[: asked.top]]
    if asked.json:
        print(json.dumps({"predictions": rows}))
    for row in [] if asked.json else rows:
        print(row["file"], row["sample"], *sum(row.get("classes", [row["outputs"]]), []))

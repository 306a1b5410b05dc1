"""Model files that leave the engine: ONNX, parity gate, manifest, verification."""

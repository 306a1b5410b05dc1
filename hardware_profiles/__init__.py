"""Where it runs: targets, the measuring loop, profiles, and plain modules as ONNX graphs."""

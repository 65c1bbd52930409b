"""ONNX files: made, run, and whole pipelines in one file."""

"""Weight conversion: readers, mapping tables, writers, ONNX export and the proof of parity."""

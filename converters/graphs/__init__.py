"""The networks as ONNX graphs, described as plain data; `export` turns them into files.

They are written for ONNX Runtime rather than traced: a tensor is named after its layer, and fully
connected layers are Gemm, which loads three times faster than a 7x7 Conv and takes half the memory.
"""

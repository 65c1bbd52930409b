"""The independent forward passes that every conversion is measured against.

Plain NumPy on the arrays of the original file, in that file's own layout (pictures NHWC, kernels
HWIO). They share no code, no layout and no library with the torch modules or the ONNX graphs, and
are written from the owners' published graphs.
"""

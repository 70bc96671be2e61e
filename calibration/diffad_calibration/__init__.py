"""Data folders, metrics, references, INT8, parity and thresholds: numpy, OpenCV, onnx and onnxruntime, never torch."""

import diffad_runtime  # noqa: F401  before any of onnxruntime: it sets what that one looks at when it is imported

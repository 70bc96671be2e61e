"""Data folders, metrics, references, INT8, parity and thresholds: numpy, OpenCV, onnx and onnxruntime, never torch."""

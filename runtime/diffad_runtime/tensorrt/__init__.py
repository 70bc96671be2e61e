"""Engines built by TensorRT from ONNX, on the device that runs them.

One code path for TensorRT 10.3 to 11.4: precision is held in the ONNX file (strongly typed networks), tensors go by
name, and nothing is used that any of these versions lacks.
"""

"""A real TensorRT parser and builder as a witness, where the optional package tensorrt-rtx is installed.

TensorRT-RTX builds without a GPU and reports which kernels it fused. It is not what runs on a Jetson.
"""

from diffad_calibration.oracle.building import EXTRA, available, build_report, version
from diffad_calibration.oracle.bundle import report_bundle
from diffad_calibration.oracle.layertext import Layer, Tensor
from diffad_calibration.oracle.report import Convolution, LayerReport, Traffic

__all__ = [
    "EXTRA",
    "Convolution",
    "Layer",
    "LayerReport",
    "Tensor",
    "Traffic",
    "available",
    "build_report",
    "report_bundle",
    "version",
]

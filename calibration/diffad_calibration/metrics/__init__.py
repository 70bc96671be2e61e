"""Detection metrics on pooled scores. Numpy and OpenCV only; knows no model, no data folder, no report."""

from diffad_calibration.metrics.aupro import aupro, pro_curve
from diffad_calibration.metrics.curves import auroc, average_precision, f1_max, roc_curve
from diffad_calibration.metrics.pool import PixelPool, pool_pixels
from diffad_calibration.metrics.summary import ClassMetrics, evaluate_maps, macro_average

__all__ = [
    "ClassMetrics",
    "PixelPool",
    "aupro",
    "auroc",
    "average_precision",
    "evaluate_maps",
    "f1_max",
    "macro_average",
    "pool_pixels",
    "pro_curve",
    "roc_curve",
]

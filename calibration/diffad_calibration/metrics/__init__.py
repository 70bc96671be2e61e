"""Detection metrics on scores. Numpy and OpenCV only; knows no model, no data folder, no report.

pixels.py     maps -> sorted scores in bounded memory       pool.py       all of them in two arrays, exact
curves.py     ranking metrics of two pools, exact           aupro.py      PRO curve and its area, exact
cells.py      counts between thresholds, any weighting      areas.py      the same metrics of counts
bootstrap.py  resampled figures and intervals               meter.py      one class, map by map
summary.py    the reported figures by name
"""

from diffad_calibration.metrics.aupro import aupro, pro_curve
from diffad_calibration.metrics.bootstrap import Bootstrap, Interval, Replicates
from diffad_calibration.metrics.curves import auroc, average_precision, f1_max, roc_curve
from diffad_calibration.metrics.meter import ClassCurves, ClassMeter
from diffad_calibration.metrics.pixels import EXACT_PIXELS
from diffad_calibration.metrics.pool import PixelPool, pool_pixels
from diffad_calibration.metrics.summary import FIGURES, ClassMetrics, class_metrics, evaluate_maps, macro_average

__all__ = [
    "EXACT_PIXELS",
    "FIGURES",
    "Bootstrap",
    "ClassCurves",
    "ClassMeter",
    "ClassMetrics",
    "Interval",
    "PixelPool",
    "Replicates",
    "aupro",
    "auroc",
    "average_precision",
    "class_metrics",
    "evaluate_maps",
    "f1_max",
    "macro_average",
    "pool_pixels",
    "pro_curve",
    "roc_curve",
]

"""What activations were on calibration frames, and the ranges that 8 bits are spread over."""

from diffad_calibration.precision.ranges.collect import Collector, Feed, collect
from diffad_calibration.precision.ranges.estimators import ESTIMATORS, Range, estimate
from diffad_calibration.precision.ranges.histogram import Histogram

__all__ = ["ESTIMATORS", "Collector", "Feed", "Histogram", "Range", "collect", "estimate"]

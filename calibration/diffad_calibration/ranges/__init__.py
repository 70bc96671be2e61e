"""What activations were on calibration frames, and the ranges that 8 bits are spread over."""

from diffad_calibration.ranges.collect import Collector, Feed, collect
from diffad_calibration.ranges.estimators import ESTIMATORS, Range, estimate
from diffad_calibration.ranges.histogram import Histogram

__all__ = ["ESTIMATORS", "Collector", "Feed", "Histogram", "Range", "collect", "estimate"]

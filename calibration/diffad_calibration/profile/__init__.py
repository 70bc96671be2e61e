"""Where a bundle's graphs spend their time, and how near their convolutions come to what this processor can do."""

from diffad_calibration.profile.bundle import profile_bundle
from diffad_calibration.profile.figures import BundleProfile, ConvolutionFigures, GraphProfile, OperatorShare, Peak

__all__ = ["BundleProfile", "ConvolutionFigures", "GraphProfile", "OperatorShare", "Peak", "profile_bundle"]

"""How long a bundle's graphs might take on a Jetson, and how much memory: estimates from the graphs, never measured."""

from diffad_calibration.roofline.boards import BOARDS, Board
from diffad_calibration.roofline.bundle import LEFT_OUT, BundleEstimate, VariantEstimate, estimate_bundle
from diffad_calibration.roofline.estimate import Assumptions, GraphEstimate, LayerEstimate, Span, frames_per_second
from diffad_calibration.roofline.memory import FITS, MemoryGuess

__all__ = [
    "BOARDS",
    "FITS",
    "LEFT_OUT",
    "Assumptions",
    "Board",
    "BundleEstimate",
    "GraphEstimate",
    "LayerEstimate",
    "MemoryGuess",
    "Span",
    "VariantEstimate",
    "estimate_bundle",
    "frames_per_second",
]

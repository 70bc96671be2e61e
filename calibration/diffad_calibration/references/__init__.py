"""Published detectors on the same frozen features, to measure ours against. Numpy and OpenCV only; never shipped."""

from diffad_calibration.references.padim import PaDiM
from diffad_calibration.references.patchcore import PatchCore

__all__ = ["PaDiM", "PatchCore"]

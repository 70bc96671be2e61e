"""What an inspection gives back: a verdict, a score, a mask, and how long each stage took.

Knows no engine, no camera, no file format.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
FloatMap = npt.NDArray[np.float32]


class Verdict(str, Enum):
    """OK: good part. NG: anomalous part. ERROR: no judgement could be made; drives the reject signal like NG."""

    OK = "OK"
    NG = "NG"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: uint8 (H, W, 3), BGR; owned by the receiver, the source never writes to it again.
        frame_id: counts from 0 within one opened source; gaps are dropped frames.
        t_monotonic: seconds on the monotonic clock at capture.
        t_capture: UTC time at capture.
        name: the file's path relative to the folder for folder sources, else "".
        truth: uint8 (H, W) defect mask 0/255 where the source knows it (synthetic line), else None.
    """

    image: Image
    frame_id: int
    t_monotonic: float
    t_capture: datetime
    name: str = ""
    truth: Image | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The judgement of one frame.

    Attributes:
        frame_id: of the frame judged.
        t_capture: UTC.
        score: image score; above `image_threshold` the part is NG. NaN when verdict is ERROR.
        verdict: OK, NG or ERROR.
        mask: uint8 (H, W), 0 or 255, frame coordinates.
        anomaly_map: float32 (S, S), the engine's raw map, input coordinates.
        latency_ms: milliseconds per stage: "resize", "extract", "reconstruct", "mask", and "total".
        bundle_digest: SHA-256 of the bundle's manifest.
        variant: the bundle's variant that judged.
        backend: the engine that judged, as in "onnxruntime".
        image_threshold, pixel_threshold: in force for this judgement.
        part_id, recipe: "" when the line gave none.
        name: file name for folder sources.
        error: why the verdict is ERROR, else "".
    """

    frame_id: int
    t_capture: datetime
    score: float
    verdict: Verdict
    mask: Image
    anomaly_map: FloatMap
    latency_ms: dict[str, float]
    bundle_digest: str
    variant: str
    backend: str
    image_threshold: float
    pixel_threshold: float
    part_id: str = ""
    recipe: str = ""
    name: str = ""
    error: str = ""
    extra: dict[str, float] = field(default_factory=dict)

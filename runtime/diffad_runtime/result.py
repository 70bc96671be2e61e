"""What an inspection gives back: a verdict, a score, a mask, and how long each stage took.

Knows no engine, no camera, no file format.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
FloatMap = npt.NDArray[np.float32]


class Verdict(str, Enum):
    """OK: good part. NG: anomalous part. ERROR: no judgement could be made; drives the reject signal like NG."""

    OK = "OK"
    NG = "NG"
    ERROR = "ERROR"


class ErrorCode(IntEnum):
    """Why a verdict is ERROR, as a number that a PLC can act on. Numbers never change their meaning.

    NONE: it is not. NO_PICTURE: none came before the deadline or the next part. LATE: the judgement came after the
    deadline. CAMERA: the source failed or ended. FROZEN: the picture stands still. PICTURE: of another size, empty or
    otherwise unfit. RECIPE: not there, or not for this bundle. ENGINE: inference failed. BUSY: too many parts wait.
    CLOSED: the station is closed. INTERNAL: anything else.
    """

    NONE = 0
    NO_PICTURE = 10
    LATE = 11
    CAMERA = 12
    FROZEN = 13
    PICTURE = 14
    RECIPE = 20
    ENGINE = 30
    BUSY = 40
    CLOSED = 41
    INTERNAL = 99


class SourceState(str, Enum):
    """What a source is doing.

    CONNECTING: being opened, or opened again. STREAMING: frames come. STALLED: opened, but no frame came for too long,
    or always the same picture. ENDED: the clip or folder is at its end, or it was closed. FAILED: given up.
    """

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    ENDED = "ended"
    FAILED = "failed"


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
        source_state: of the source when it gave the frame. STALLED: the picture is frozen, no part may be judged by it.
    """

    image: Image
    frame_id: int
    t_monotonic: float
    t_capture: datetime
    name: str = ""
    truth: Image | None = None
    source_state: SourceState = SourceState.STREAMING


@dataclass(frozen=True, slots=True)
class Defect:
    """One connected blob (8-connected) of a result's mask, frame coordinates.

    Attributes:
        area_px: frame pixels.
        box: (left, top, width, height), pixels; the blob's pixels lie in [left, left + width) x [top, top + height).
        peak: largest map value inside, as sampled in frame coordinates.
        centre: (x, y), mean of its pixels' centres, pixels; a pixel i has its centre at i + 0.5.
        region: the recipe's region that it lies in, "" without a recipe.
    """

    area_px: int
    box: tuple[int, int, int, int]
    peak: float
    centre: tuple[float, float]
    region: str = ""


@dataclass(frozen=True, slots=True)
class RegionScore:
    """One region of a recipe. Its verdict is NG where the score is above the threshold."""

    region: str
    score: float
    threshold: float
    verdict: Verdict


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
        latency_ms: milliseconds per stage: "resize", "extract", "reconstruct", "mask", and "total"; of triggered parts
            also "picture", trigger to capture by the source's clock (0: taken before), "wait", picture at hand to
            judge at work, and "trigger", trigger to verdict.
        bundle_digest: SHA-256 of the bundle's manifest.
        variant: the bundle's variant that judged.
        backend: the engine that judged, as in "onnxruntime".
        image_threshold, pixel_threshold: in force for this judgement.
        part_id, recipe: "" when the line gave none.
        name: file name for folder sources.
        error: why the verdict is ERROR, else "".
        code: the same as a number, ErrorCode.NONE where it is not.
        defects: blobs of the mask, largest peak first.
        regions: one for each region of the recipe, in its order; empty without a recipe.
        t_trigger: UTC, where the part was asked for by a trigger.
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
    defects: tuple[Defect, ...] = ()
    regions: tuple[RegionScore, ...] = ()
    t_trigger: datetime | None = None
    code: ErrorCode = ErrorCode.NONE

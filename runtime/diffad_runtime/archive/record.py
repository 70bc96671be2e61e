"""One line of an archived session: what was judged, how, and by what, so that it can be judged again and compared.

Knows the fields, their JSON and the hashes. Does not know where lines and pictures lie.
"""

import hashlib
import math
from datetime import datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_runtime.bundle.strictjson import one_line
from diffad_runtime.errors import DataError
from diffad_runtime.result import Defect, FloatMap, Frame, RegionScore, Result, Verdict
from diffad_runtime.rle import encode

# Of the archive's own making: a number, the verdict, the time of capture, and what is safe of the part's id.
FILE_PATTERN = r"(\d{6})_(?:OK|NG|ERROR)_\d{8}T\d{6}\.\d{6}Z(?:_[A-Za-z0-9._~-]{1,64})?\.(?:png|bmp)"

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RunLengths(BaseModel):
    """A mask in the run lengths of COCO; rle.py reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int]
    counts: str


class Record(BaseModel):
    """One archived judgement.

    Attributes:
        format: of this line.
        seq: counts from 0 within the session.
        file: of the frame, in the session's folder; None where the frame could not be kept, being no picture.
        file_sha256: of the file's bytes.
        grey: the frame was (H, W).
        score: None where it is NaN, as it is on ERROR.
        mask: None on ERROR.
        map_sha256: of the float32 (S, S) map's bytes, little-endian, row by row; None on ERROR.
        defects, regions, latency_ms and the rest: as in Result.
    """

    # Infinity, which is a threshold that switches a check off, is the text "Infinity".
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    format: Literal[1] = 1
    seq: int = Field(ge=0)
    file: str | None = Field(pattern=f"^{FILE_PATTERN}$")
    file_sha256: _Hash | None
    grey: bool = False
    frame_id: int
    name: str
    part_id: str
    recipe: str
    t_capture: datetime
    t_trigger: datetime | None
    verdict: Verdict
    score: float | None
    error: str
    mask: RunLengths | None
    map_sha256: _Hash | None
    image_threshold: float
    pixel_threshold: float
    bundle_digest: str
    variant: str
    backend: str
    defects: tuple[Defect, ...]
    regions: tuple[RegionScore, ...]
    latency_ms: dict[str, float]

    @classmethod
    def of(cls, seq: int, frame: Frame, result: Result, file: str | None, file_sha256: str | None) -> "Record":
        """The line of one result."""
        judged = result.verdict is not Verdict.ERROR
        return cls(
            seq=seq,
            file=file,
            file_sha256=file_sha256,
            grey=getattr(frame.image, "ndim", 3) == 2,
            frame_id=result.frame_id,
            name=_text(result.name),
            part_id=_text(result.part_id),
            recipe=_text(result.recipe),
            t_capture=result.t_capture,
            t_trigger=result.t_trigger,
            verdict=result.verdict,
            score=None if math.isnan(result.score) else float(result.score),
            error=_text(result.error),
            mask=RunLengths.model_validate(encode(result.mask)) if judged else None,
            map_sha256=map_hash(result.anomaly_map) if judged else None,
            image_threshold=float(result.image_threshold),
            pixel_threshold=float(result.pixel_threshold),
            bundle_digest=result.bundle_digest,
            variant=result.variant,
            backend=result.backend,
            defects=result.defects,
            regions=result.regions,
            latency_ms={stage: float(value) for stage, value in result.latency_ms.items()},
        )

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """Read a line.

        Raises:
            DataError: it is no such line.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"the line is none of an archive: {one_line(error)}", mend="Leave it out") from error

    def to_line(self) -> str:
        """JSON in one line; `parse` gives back the same, to the last bit of every number."""
        return self.model_dump_json()


def map_hash(anomaly_map: FloatMap) -> str:
    """SHA-256 of a map's bytes: two maps have the same where they are equal to the bit."""
    return hashlib.sha256(np.ascontiguousarray(anomaly_map, "<f4").tobytes()).hexdigest()


def _text(text: str) -> str:
    """Without the half characters that a file name or a barcode may bring, which no JSON holds."""
    return text.encode("utf-8", "backslashreplace").decode()

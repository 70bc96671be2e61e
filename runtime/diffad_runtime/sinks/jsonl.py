"""One JSON object per line and frame: every field of Result but the arrays, and what they come to.

Knows JSON. Does not know what other sinks write, but for the path of a mask, nor how the file is rotated: linefile.py.
"""

import dataclasses
import json
import math
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.rle import encode
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.linefile import LineFile, Rotation
from diffad_runtime.sinks.masks import MaskSink

_ARRAYS = {"mask", "anomaly_map"}


class JsonlSink(Sink):
    """Writes a results file, a line as soon as there is one, so that it can be followed while the run goes on.

    Beside the fields of Result: `mask_path` (null without mask), `mask_pixels` and `anomaly_max` (null on ERROR), and
    with `masks="rle"` `mask_rle`. NaN and infinity become null. Times are ISO 8601 in UTC, null where there is none.
    What has parts, as documented in result.py:

        "defects": [{"area_px": 140, "box": [30, 10, 14, 10], "peak": 1.5, "centre": [37.0, 15.0], "region": ""}]
        "regions": [{"region": "lid", "score": 0.75, "threshold": 0.5, "verdict": "NG"}]
        "mask_rle": {"size": [H, W], "counts": "..."}, run lengths in the form of COCO (rle.py), null on ERROR

    An older file of that name is appended to, and a torn last line of it moved away; `overwrite` starts it anew.

    Args:
        path: FILE.jsonl, or a device or pipe.
        masks: the sink that writes the masks of the same run, for `mask_path`; "rle": have the mask in the line.
        rotation: None: one file that grows.
        overwrite: lose what an older file of that name holds.

    Raises:
        InputError: the file cannot be opened, holds something else, or another run writes to it.
    """

    def __init__(
        self,
        path: str | Path,
        masks: MaskSink | Literal["rle"] | None = None,
        *,
        rotation: Rotation | None = None,
        overwrite: bool = False,
    ) -> None:
        self.name = f"results in {path}"
        self._masks = masks
        self._lines = LineFile(path, rotation, overwrite=overwrite)

    def write(self, frame: Frame, result: Result) -> None:
        mask_path = self._masks.path_of(frame, result) if isinstance(self._masks, MaskSink) else None
        fields = result_fields(result, mask_path)
        if self._masks == "rle":
            fields["mask_rle"] = encode(result.mask) if result.verdict is not Verdict.ERROR else None
        self._lines.append(json.dumps(fields, allow_nan=False))

    def close(self) -> None:
        self._lines.close()


def result_fields(result: Result, mask_path: str | Path | None = None) -> dict[str, Any]:
    """A result as JSON values, without its arrays.

    Args:
        result: of one frame.
        mask_path: of its mask; left out of an ERROR, which has none.
    """
    judged = result.verdict is not Verdict.ERROR
    fields = {
        field.name: plain(getattr(result, field.name))
        for field in dataclasses.fields(result)
        if field.name not in _ARRAYS
    }
    return {
        **fields,
        "mask_path": str(mask_path) if judged and mask_path is not None else None,
        "mask_pixels": cv2.countNonZero(result.mask) if judged else None,
        "anomaly_max": plain(float(result.anomaly_map.max())) if judged else None,
    }


def plain(value: Any) -> Any:
    """JSON values of what a Result is made of: enums, times, numbers of numpy, and what holds them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.value if isinstance(value, Enum) else value.isoformat() if isinstance(value, datetime) else value

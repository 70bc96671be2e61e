"""One JSON object per line and frame: every field of Result but the arrays, and what they come to.

Knows JSON. Does not know what other sinks write, but for the path of a mask.
"""

import dataclasses
import json
import math
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.masks import MaskSink

_ARRAYS = {"mask", "anomaly_map"}


class JsonlSink(Sink):
    """Writes a results file, a line as soon as there is one, so that it can be followed while the run goes on.

    Beside the fields of Result: `mask_path` (null without mask), `mask_pixels` and `anomaly_max` (null on ERROR).
    NaN and infinity become null. An older file of that name is overwritten.

    Args:
        path: FILE.jsonl.
        masks: the sink that writes the masks of the same run, for `mask_path`.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, masks: MaskSink | None = None) -> None:
        self.name = f"results in {path}"
        self._masks = masks
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # Not written to a temporary name: it is read while it grows, and each line is whole by itself.
            self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  open until close()
        except OSError as error:
            raise InputError(
                f"the results file {path} cannot be written: {error.strerror or error}",
                mend="Name a file that can be written to",
            ) from error

    def write(self, frame: Frame, result: Result) -> None:
        mask_path = self._masks.path_of(frame) if self._masks is not None else None
        self._file.write(json.dumps(result_fields(result, mask_path), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def result_fields(result: Result, mask_path: Path | None = None) -> dict[str, Any]:
    """A result as JSON values, without its arrays.

    Args:
        result: of one frame.
        mask_path: of its mask; left out of an ERROR, which has none.
    """
    judged = result.verdict is not Verdict.ERROR
    fields = {
        field.name: _plain(getattr(result, field.name))
        for field in dataclasses.fields(result)
        if field.name not in _ARRAYS
    }
    return {
        **fields,
        "mask_path": str(mask_path) if judged and mask_path is not None else None,
        "mask_pixels": int(np.count_nonzero(result.mask)) if judged else None,
        "anomaly_max": _plain(float(result.anomaly_map.max())) if judged else None,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value

"""One .npy per frame: the map itself, float32, for whoever computes metrics or sets thresholds of their own.

Knows the file's form. Does not know thresholds.
"""

from pathlib import Path

import numpy as np

from diffad_runtime.atomic import replacing
from diffad_runtime.geometry import to_frame
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.outputfolder import OutputFolder


class RawSink(Sink):
    """Writes the map in frame coordinates, float32 (H, W), as <relative path>.npy: crack/001.png.npy.

    A frame without a judgement gets no file, and loses one left from an earlier run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.name = f"raw maps in {folder}"
        self._output = OutputFolder(folder, ".npy", replace=False)

    def write(self, frame: Frame, result: Result) -> None:
        path = Path(self._output.path_of(frame))
        if result.verdict is Verdict.ERROR:
            path.unlink(missing_ok=True)
            return
        height, width = frame.image.shape[:2]
        with replacing(path) as temporary:
            np.save(temporary, to_frame(result.anomaly_map, height, width), allow_pickle=False)

    def close(self) -> None:
        pass

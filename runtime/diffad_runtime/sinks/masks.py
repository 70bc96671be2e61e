"""One PNG per frame: white where the part is defective.

Knows the file's form. Does not know how masks are made, nor which of a camera's go when there are too many.
"""

import os
from contextlib import suppress
from pathlib import Path

import cv2

from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.outputfolder import OutputFolder
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.wholefile import write_whole

_BILEVEL = (cv2.IMWRITE_PNG_BILEVEL, 1)


class MaskSink(Sink):
    """Writes masks as 1-bit PNG, read back as 0 and 255, in frame coordinates.

    A frame without a judgement gets no mask, and loses one left from an earlier run: black would read as good.

    Args:
        folder: of the masks.
        live, retention: frames of a camera, and how many are kept, as in OutputFolder.

    Raises:
        InputError: the folder cannot be made; another run writes a camera's masks to it.
    """

    def __init__(self, folder: str | Path, *, live: bool = False, retention: Retention | None = None) -> None:
        self.name = f"masks in {folder}"
        self._output = OutputFolder(folder, ".png", replace=True, live=live, retention=retention)

    def path_of(self, frame: Frame, result: Result) -> str:
        """Where this frame's mask goes. From any thread."""
        return self._output.path_of(frame, result.part_id)

    def write(self, frame: Frame, result: Result) -> None:
        path = self.path_of(frame, result)
        if result.verdict is Verdict.ERROR:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108  wholefile.py says why
            return
        _, encoded = cv2.imencode(".png", result.mask, _BILEVEL)
        data = encoded.tobytes()
        self._output.make_room(path, len(data))
        write_whole(path, data)
        self._output.written(path, len(data))

    def close(self) -> None:
        self._output.close()

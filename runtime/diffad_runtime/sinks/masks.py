"""One PNG per frame: white where the part is defective.

Knows the file's form. Does not know how masks are made.
"""

from pathlib import Path

from diffad_runtime.imagefile import write_mask
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.outputfolder import OutputFolder


class MaskSink(Sink):
    """Writes masks as 1-bit PNG, read back as 0 and 255, in frame coordinates.

    A frame without a judgement gets no mask, and loses one left from an earlier run: black would read as good.
    """

    def __init__(self, folder: str | Path) -> None:
        self.name = f"masks in {folder}"
        self._output = OutputFolder(folder, ".png", replace=True)

    def path_of(self, frame: Frame) -> Path:
        """Where this frame's mask goes."""
        return self._output.path_of(frame)

    def write(self, frame: Frame, result: Result) -> None:
        path = self.path_of(frame)
        if result.verdict is Verdict.ERROR:
            path.unlink(missing_ok=True)
        else:
            write_mask(path, result.mask)

    def close(self) -> None:
        pass

"""One PNG per frame: white where the part is defective.

Knows the file's form. Does not know how masks are made, nor which of a camera's go when there are too many.
"""

from pathlib import Path

from diffad_runtime.imagefile import write_mask
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.outputfolder import OutputFolder
from diffad_runtime.sinks.retention import Retention


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

    def path_of(self, frame: Frame, result: Result) -> Path:
        """Where this frame's mask goes. From any thread."""
        return self._output.path_of(frame, result.part_id)

    def write(self, frame: Frame, result: Result) -> None:
        path = self.path_of(frame, result)
        if result.verdict is Verdict.ERROR:
            path.unlink(missing_ok=True)
            return
        height, width = result.mask.shape
        self._output.make_room(path, height * (width // 8 + 2) + 4096)  # uncompressed, and what PNG puts around it
        write_mask(path, result.mask)
        self._output.written(path)

    def close(self) -> None:
        self._output.close()

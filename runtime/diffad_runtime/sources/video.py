"""Frames from a video file, every one, as fast as they are taken.

Knows that a clip has an end and how many frames it claims. Does not know codecs.
"""

from pathlib import Path

import cv2

from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.sources.capture import Capture


class VideoSource(Source):
    """A clip from its first frame to its last; a clip that stops early goes to `problems`.

    Args:
        uri: as given.
        path: existing file.
        loop: start again after the last frame, without end.

    Raises:
        SourceError: not a video that can be decoded.
    """

    def __init__(self, uri: str, path: Path, *, loop: bool = False) -> None:
        self._path = path
        self._loop = loop
        self._capture = Capture(str(path), cv2.CAP_FFMPEG)
        self._first = self._capture.read() if self._capture.opened else None
        super().__init__(uri, live=False, fps_hint=self._capture.number(cv2.CAP_PROP_FPS))
        if self._first is None:
            self._capture.release()
            raise SourceError(
                f"{path} ({path.stat().st_size} bytes) cannot be opened as a video",
                mend="Check that it plays elsewhere, or convert it to MP4 (H.264) or AVI (MJPEG)",
            )
        self._claimed = self._capture.number(cv2.CAP_PROP_FRAME_COUNT)
        self._read = 0

    def _grab(self) -> Shot | None:
        image, self._first = (self._first, None) if self._first is not None else (self._capture.read(), None)
        if image is None and self._read > 0:
            self._note_early_end()
            self._capture.release()
            if self._loop:
                self._capture = Capture(str(self._path), cv2.CAP_FFMPEG)
                self._read = 0
                image = self._capture.read()
        if image is None:
            return None
        self._read += 1
        return Shot(image)

    def _note_early_end(self) -> None:
        # Containers round their frame count; one frame off is not worth a word.
        if self._claimed is not None and self._read < self._claimed - 1:
            line = f"{self._path} stopped after {self._read} of the {self._claimed:.0f} frames that it claims to hold"
            if line not in self.problems:
                self.problems.append(line)

    def _release(self) -> None:
        self._first = None
        self._capture.release()

"""Pictures for people: the frame with heat where it is anomalous, the mask's outline and the verdict in words.

Knows drawing and video files. Does not know how a verdict is reached.
"""

from pathlib import Path

import cv2
import numpy as np

from diffad_runtime.atomic import replacing
from diffad_runtime.errors import DiffadError
from diffad_runtime.imagefile import quiet_opencv
from diffad_runtime.result import FloatMap, Frame, Image, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.outputfolder import OutputFolder
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.wholefile import write_whole

_COLOURS = {Verdict.OK: (80, 200, 80), Verdict.NG: (60, 60, 240), Verdict.ERROR: (0, 200, 255)}  # BGR
_MOST_HEAT = 0.65  # the part stays visible under it
_JPEG_QUALITY = 90
_LONGEST_PART = 40  # characters drawn
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


def heat(anomaly_map: FloatMap, threshold: float) -> FloatMap:
    """The map as 0..1 around the threshold, which becomes 0.5; one threshold's width below and above are 0 and 1.

    The scale hangs on the threshold alone, so that pictures of two frames can be compared.
    """
    span = max(abs(threshold), 1e-6)
    warmth: FloatMap = np.clip((anomaly_map - np.float32(threshold - span)) / np.float32(2 * span), 0, 1)
    return warmth


def draw_overlay(image: Image, result: Result) -> Image:
    """Draw a result over its frame.

    Args:
        image: uint8 (H, W, 3) BGR or (H, W); not written to.
        result: of this frame.

    Returns:
        uint8 (H, W, 3) BGR, fresh.
    """
    canvas = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image, np.uint8)
    height, width = canvas.shape[:2]
    if result.verdict is Verdict.ERROR:
        canvas = canvas.copy()
    else:
        # Coloured at map size and enlarged after: 3 bytes for every map pixel instead of every frame pixel.
        warmth = heat(result.anomaly_map, result.pixel_threshold)
        colours = cv2.applyColorMap((warmth * np.float32(255)).astype(np.uint8), cv2.COLORMAP_INFERNO)
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        weight = cv2.resize(warmth * np.float32(_MOST_HEAT), (width, height), interpolation=cv2.INTER_LINEAR)
        canvas = np.asarray(cv2.blendLinear(canvas, colours, 1 - weight, weight), np.uint8)
        outlines, _ = cv2.findContours(result.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        thickness = max(1, round(min(height, width) / 400))
        cv2.drawContours(canvas, outlines, -1, (255, 255, 255), thickness)
    _write_verdict(canvas, result)
    return canvas


class OverlayPictures(Sink):
    """Writes one JPEG per frame.

    Args:
        folder: of the pictures.
        live, retention: frames of a camera, and how many are kept, as in OutputFolder.

    Raises:
        InputError: the folder cannot be made; another run writes a camera's pictures to it.
    """

    def __init__(self, folder: str | Path, *, live: bool = False, retention: Retention | None = None) -> None:
        self.name = f"overlays in {folder}"
        self._output = OutputFolder(folder, ".jpg", replace=True, live=live, retention=retention)

    def write(self, frame: Frame, result: Result) -> None:
        picture = draw_overlay(frame.image, result)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        path = self._output.path_of(frame, result.part_id)
        self._output.make_room(path, len(data))
        write_whole(path, data.tobytes())
        self._output.written(path, len(data))

    def close(self) -> None:
        self._output.close()


class OverlayVideo(Sink):
    """Writes a video of the size of its first frame; later frames of another size are stretched to it.

    The file gets its name when the sink is closed; until then it is hidden under a temporary one.

    Args:
        path: FILE.mp4 (MPEG-4) or FILE.avi (motion JPEG).
        fps: frames per second to play at; None: 25.

    Attributes:
        path: as given.
        temporary: the name until then.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        self.name = f"overlay video {path}"
        self.path = Path(path)
        self._fps = fps or 25.0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._replacing = replacing(self.path)
        self.temporary = self._replacing.__enter__()
        self._open = True
        try:
            self.temporary.touch()
        except OSError as error:
            self._abandon(error)

    def write(self, frame: Frame, result: Result) -> None:
        picture = draw_overlay(frame.image, result)
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            self._writer = self._start()
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(picture)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._writer is None:  # no frame came: no video is better than one that nothing can play
            self.temporary.unlink(missing_ok=True)
            return
        self._writer.release()
        self._replacing.__exit__(None, None, None)

    def _start(self) -> cv2.VideoWriter:
        codec = CODECS[self.path.suffix.lower()]
        with quiet_opencv():
            writer = cv2.VideoWriter(str(self.temporary), cv2.VideoWriter.fourcc(*codec), self._fps, self._size)
        if not writer.isOpened():
            raise DiffadError(
                f"this OpenCV cannot write {self.path} ({codec}, {self._size[0]} x {self._size[1]})",
                mend="Name a .avi file or a folder instead",
            )
        return writer

    def _abandon(self, error: OSError) -> None:
        self._open = False
        self._replacing.__exit__(type(error), error, error.__traceback__)


def _write_verdict(canvas: Image, result: Result) -> None:
    height, width = canvas.shape[:2]
    text = result.verdict.value
    if result.verdict is not Verdict.ERROR:
        text += f"  {result.score:.3f} / {result.image_threshold:.3f}"
    if result.part_id:
        # OpenCV draws ASCII only, and a half character from a barcode makes it crash the process.
        text += "  " + "".join(mark if " " <= mark <= "~" else "?" for mark in result.part_id[:_LONGEST_PART])
    scale = max(0.35, min(height, width) / 700)
    thickness = max(1, round(1.6 * scale))
    (_, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    band = min(height, text_height + below + 6)
    canvas[:band] //= 3  # dark enough to read on, light enough to see through
    origin = (4, min(band - 1, text_height + 3))
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, _COLOURS[result.verdict], thickness, cv2.LINE_AA)
    cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), _COLOURS[result.verdict], thickness)

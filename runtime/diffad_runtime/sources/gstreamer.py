"""Frames from any GStreamer pipeline: through OpenCV where it has GStreamer, else through a child process.

    gst://videotestsrc is-live=true ! identity?width=1280&height=720&fps=30

Knows the URI, which way is taken and what a frame's size is. Does not know cameras: csi.py writes pipelines for this.

The size must be given: frames come as plain bytes, and both ways are to give the same. A pipeline with frames of
another size is scaled to it. `fps` is optional: a faster pipeline is thinned out, a slower one is refused by GStreamer.
"""

import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import cv2
from pydantic import Field

from diffad_runtime.errors import SourceError
from diffad_runtime.result import Image
from diffad_runtime.sources.address import without_password
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.sources.capture import Capture
from diffad_runtime.sources.gstreamer_child import QUEUE, FrameTimeoutError, GStreamerChild
from diffad_runtime.sources.gstreamer_words import GET_GSTREAMER, LAUNCHER, launcher, reason_of
from diffad_runtime.sources.query import Query

_FORM = "gst://PIPELINE?width=1280&height=720&fps=30"
_TRY = f"See what it says by itself: {LAUNCHER} PIPELINE ! fakesink"
_SLICE_MS = 500  # how long one read through OpenCV may be deaf to close()
_TIMEOUTS_SINCE = (4, 8)  # OpenCV's GStreamer reads without one wait for ever in versions before


class PipelineConfig(Query):
    """How the frames of a pipeline are to come."""

    what: ClassVar[str] = "gst://"

    width: int = Field(ge=1, le=16384, description="of the frames, pixels")
    height: int = Field(ge=1, le=16384, description="of the frames, pixels")
    fps: int | None = Field(default=None, ge=1, le=1000, description="frames a second; without it, as the pipeline has")
    timeout: float = Field(default=5.0, gt=0, le=600, description="seconds without a frame before it has failed")
    via: Literal["auto", "opencv", "child"] = Field(
        default="auto", description=f"opencv, or child for a process of {LAUNCHER}; auto is opencv where it can"
    )


class _Reader(ABC):
    """One way to the frames of a running pipeline."""

    @abstractmethod
    def read(self, closing: Callable[[], bool]) -> Image | None:
        """The next frame; None at the end, or soon after interrupt().

        Raises:
            SourceError: the pipeline failed, or gave no frame within the time.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """End a read in progress; waits for nothing, any thread, at any time."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; not while another thread reads."""

    def why(self) -> tuple[str, str]:
        """What was said of late, and a mend."""
        return "", _TRY


class _ChildReader(_Reader):
    def __init__(self, uri: str, pipeline: str, config: PipelineConfig) -> None:
        self._uri = uri
        self._timeout_s = config.timeout
        program = launcher()
        if program is None:
            raise SourceError(
                f"{uri} needs GStreamer, and neither OpenCV here has it nor is there a {LAUNCHER}", mend=GET_GSTREAMER
            )
        try:
            elements = shlex.split(pipeline)
        except ValueError as error:
            raise SourceError(f"{uri}: {error} in the pipeline", mend="Close every quote") from error
        tail = shlex.split(f"! {QUEUE} ! {_to_bgr(config)} ! fdsink fd={{fd}} sync=false")
        try:
            # Without --no-fault, a pipeline that crashes would not end but wait for a debugger.
            self._child = GStreamerChild(
                [program, "--quiet", "--no-fault", *elements, *tail], width=config.width, height=config.height
            )
        except (OSError, RuntimeError) as error:
            raise SourceError(f"{program} cannot be started: {error}", mend=GET_GSTREAMER) from error

    def read(self, closing: Callable[[], bool]) -> Image | None:
        try:
            image = self._child.read(self._timeout_s)
        except FrameTimeoutError:
            reason, mend = self.why()
            said = f"; it said: {reason}" if reason else ""
            raise SourceError(f"{self._uri} gave no frame for {self._timeout_s:g} s{said}", mend=mend) from None
        if image is not None or closing():
            return image
        status = self._child.wait(2.0)
        if status == 0 or closing():
            return None
        if status is None:
            raise SourceError(f"{self._uri} closed its pipe and runs on", mend="Open it again")
        if status < 0:
            raise SourceError(f"{self._uri}: {LAUNCHER} was killed by signal {-status}", mend="Open it again")
        reason, mend = self.why()
        raise SourceError(f"{self._uri} failed: {reason or f'exit status {status}'}", mend=mend)

    def interrupt(self) -> None:
        self._child.interrupt()

    def close(self) -> None:
        self._child.close()

    def why(self) -> tuple[str, str]:
        reason, mend = reason_of(self._child.said())
        return without_password(reason), mend


class _OpenCVReader(_Reader):
    """OpenCV says only that a read gave nothing: at once is the end, after its time limit is no frame yet."""

    def __init__(self, uri: str, pipeline: str, config: PipelineConfig) -> None:
        self._uri = uri
        self._timeout_s = config.timeout
        timeouts = (
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(config.timeout * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _SLICE_MS),
        )
        sink = "appsink drop=true max-buffers=1 sync=false"
        line = f"{pipeline} ! {QUEUE} ! {_to_bgr(config)} ! {sink}"
        self._capture = Capture(line, cv2.CAP_GSTREAMER, timeouts if opencv_times_out() else ())
        if not self._capture.opened:
            raise SourceError(f"{uri}: OpenCV's GStreamer does not start the pipeline", mend=_TRY)

    def read(self, closing: Callable[[], bool]) -> Image | None:
        until = time.monotonic() + self._timeout_s
        while not closing():
            began = time.monotonic()
            image = self._capture.read()
            if image is not None:
                return image
            now = time.monotonic()
            if now - began < _SLICE_MS / 2000:
                return None
            if now >= until:
                raise SourceError(f"{self._uri} gave no frame for {self._timeout_s:g} s", mend=_TRY)
        return None

    def interrupt(self) -> None:
        pass  # a read comes back within a slice

    def close(self) -> None:
        self._capture.release()


class PipelineSource(Source):
    """A running pipeline. Use `open_pipeline` to make one.

    A frame is stamped when it is read. A reader who comes up to half a second late may get a frame that waited so long;
    after a longer pause the waiting frame is thrown away. close() takes about a second where a child must be killed.

    Args:
        uri: as given.
        pipeline: elements up to the raw video, as for gst-launch-1.0.
        config: size, rate and way.
        fps_hint: where the pipeline itself sets the rate.

    Raises:
        SourceError: GStreamer is missing, the pipeline cannot be made, or it gives no frame within the time.
    """

    def __init__(self, uri: str, pipeline: str, config: PipelineConfig, *, fps_hint: float | None = None) -> None:
        super().__init__(without_password(uri), live=True, fps_hint=fps_hint or config.fps)
        uri = self.uri
        way = _OpenCVReader if _takes_opencv(config.via) else _ChildReader
        self._reader: _Reader = way(uri, pipeline, config)
        try:
            self._first = self._reader.read(self._closing.is_set)
            if self._first is None:
                reason, mend = self._reader.why()
                raise SourceError(f"{uri} ended without a frame{': ' if reason else ''}{reason}", mend=mend)
        except BaseException:
            self._reader.close()
            raise
        self._opened = time.monotonic()

    def close(self) -> None:
        self._closing.set()
        self._reader.interrupt()
        super().close()

    def _grab(self) -> Shot | None:
        image, self._first = self._first, None
        if image is not None and time.monotonic() - self._opened < 0.5:
            return Shot(image, t_monotonic=self._opened)
        image = self._reader.read(self._closing.is_set)
        return None if image is None else Shot(image)

    def _release(self) -> None:
        self._first = None
        self._reader.close()


def open_pipeline(uri: str) -> Source:
    """Open gst://PIPELINE?width=1280&height=720&fps=30.

    Args:
        uri: elements with ! between, as for gst-launch-1.0, up to raw video of any format. What stands after the last
            '?' are the parameters of PipelineConfig; width and height must be among them.

    Raises:
        SourceError: as PipelineSource, or a parameter is missing, unknown or bad.
    """
    pipeline, mark, query = uri.partition("://")[2].rpartition("?")
    if not mark or not pipeline.strip():
        raise SourceError(
            f"{without_password(uri)}: expected a pipeline, a '?' and the size of its frames", mend=f"Write {_FORM}"
        )
    return PipelineSource(uri, pipeline.strip(), PipelineConfig.parse(query))


def opencv_times_out() -> bool:
    """Whether this OpenCV has GStreamer, and its reads come back where no frame does."""
    version = tuple(int(part) for part in cv2.__version__.split(".")[:2])
    return cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) and version >= _TIMEOUTS_SINCE


def _takes_opencv(via: str) -> bool:
    return via == "opencv" or (via == "auto" and opencv_times_out())


def _to_bgr(config: PipelineConfig) -> str:
    rate = "" if config.fps is None else "videorate drop-only=true ! "
    caps = f"video/x-raw,format=BGR,width={config.width},height={config.height},pixel-aspect-ratio=1/1"
    caps += "" if config.fps is None else f",framerate={config.fps}/1"
    return f"videoconvert ! videoscale add-borders=false ! {rate}{caps}"

"""Frames from a network camera, RTSP or HTTP, through PyAV (the extra `video`).

Knows the options that keep the delay small, what a damaged picture is, and what FFMPEG's errors mean to the user.
Does not reconnect: a camera that is silent for too long raises SourceError.

Why PyAV and not OpenCV, which has the same FFMPEG inside: it tells a damaged picture, an end from an error, and when a
picture was taken; it opens an RTSP stream in 0.1 s instead of 1.2 s, and reads on after garbage, where OpenCV takes it
for the end. The pixels are the same, bit for bit, and so is the delay once OpenCV is held to one thread; every thread
more keeps back a frame. A frame of 1080p takes 2.7 to 4.4 ms of one x86 core, depending on how its memory is had;
OpenCV takes 3.4 ms (docs/stream_backends.py).
"""

import errno
import time
from collections import deque
from collections.abc import Iterator
from statistics import median
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.sources.address import without_password
from diffad_runtime.sources.base import Shot, Source, SourceStatus
from diffad_runtime.sources.stamps import CaptureClock

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
_GAP = 1.5
_TRANSPORTS = ("tcp", "udp")


class StreamSource(Source):
    """A network camera.

    A picture that the decoder found damaged is not handed out, and neither is any after it up to the next key frame:
    they are made from the damaged one, and the decoder does not say so. Over UDP the same is done where a picture is
    missing. `status().rejected` counts them. JPEGs bring no checksum: one that was cut is found out, a few bytes that
    were overwritten may pass.

    Args:
        uri: rtsp, rtsps, http or https; "?transport=udp" asks for RTSP over UDP, the default is TCP.
        open_timeout_s: for connecting, and for the first picture's data.
        read_timeout_s: longest silence.

    Raises:
        MissingExtraError: PyAV is not installed.
        SourceError: no stream; says why. A transport other than tcp and udp.
    """

    def __init__(
        self, uri: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._av = _pyav()
        address, options = _asked_for(uri)
        shown = without_password(address)
        start = time.monotonic()
        try:
            self._container = self._av.open(
                address, mode="r", options=options, timeout=(open_timeout_s, read_timeout_s)
            )
        except (self._av.FFmpegError, OSError, ValueError) as error:
            waited = time.monotonic() - start >= 0.9 * open_timeout_s
            what, mend = _why(error, waited)
            within = f" within {open_timeout_s:g} s" if waited else f": {what}"
            raise SourceError(f"no stream from {shown}{within}", mend=mend) from None
        try:
            self._prepare(shown)
        except BaseException:
            self._container.close()
            raise
        rate = self._stream.guessed_rate
        super().__init__(shown, live=True, fps_hint=float(rate) if rate else None)
        self._over_udp = options.get("rtsp_transport") == "udp"
        self._read_timeout_s = read_timeout_s
        self._packets: Iterator[Any] = self._container.demux(self._stream)
        self._decoded: deque[Any] = deque()
        self._clock = CaptureClock()
        self._steps: deque[float] = deque(maxlen=15)
        self._pts: float | None = None
        self._damaged = False
        self._rejected = 0

    def _prepare(self, shown: str) -> None:
        if not self._container.streams.video:
            raise SourceError(f"the stream from {shown} has no video in it", mend="Check the path of the stream")
        self._stream = self._container.streams.video[0]
        # Without it a JPEG that was cut or overwritten is decoded to something grey, and called good.
        self._stream.codec_context.options = {"err_detect": "explode"}
        # Every thread more keeps one picture back.
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.flags |= self._av.codec.context.Flags.low_delay

    def status(self) -> SourceStatus:
        base = super().status()
        return SourceStatus(base.state, base.detail, base.frames, base.last_frame, rejected=self._rejected)

    def _grab(self) -> Shot | None:
        while not self._closing.is_set():
            while self._decoded:
                frame = self._decoded.popleft()
                arrival = time.monotonic()
                pts = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
                captured = self._clock.capture(pts, arrival)
                if self._whole(frame, pts):
                    return Shot(frame.to_ndarray(format="bgr24"), t_monotonic=captured)
                self._rejected += 1
            if not self._decode_on():
                return None
        return None

    def _decode_on(self) -> bool:
        """Read and decode one packet; False at the end of the stream."""
        start = time.monotonic()
        try:
            packet = next(self._packets, None)
        except self._av.EOFError:
            return False
        except (self._av.FFmpegError, OSError) as error:
            waited = time.monotonic() - start >= 0.9 * self._read_timeout_s
            what, mend = _why(error, waited)
            raise SourceError(f"camera {self.uri} stopped after {self._next_id} frames: {what}", mend=mend) from None
        if packet is None:
            return False
        try:
            self._decoded.extend(self._stream.codec_context.decode(packet))
        except self._av.EOFError:
            return False
        except self._av.FFmpegError:
            self._damaged = True
            self._rejected += 1
        return True

    def _whole(self, frame: Any, pts: float | None) -> bool:
        step = None if pts is None or self._pts is None else pts - self._pts
        self._pts = pts
        lost = False
        if step is not None:
            usual = median(self._steps) if self._steps else step
            lost = self._over_udp and not 0 < step < _GAP * usual
            self._steps.append(step)
        if frame.key_frame:
            self._damaged = False
        if frame.is_corrupt or (lost and not frame.key_frame):
            self._damaged = True
        return not self._damaged

    def _release(self) -> None:
        self._decoded.clear()
        self._container.close()


def _pyav() -> ModuleType:
    try:
        import av  # noqa: PLC0415  the extra is optional
    except ImportError as error:
        raise MissingExtraError("av", extra="video", purpose="reading network cameras with damage control") from error
    return av


def _asked_for(uri: str) -> tuple[str, dict[str, str]]:
    """The address without what is for us, and FFMPEG's options."""
    parts = urlsplit(uri)
    if parts.scheme.lower() not in {"rtsp", "rtsps"}:
        # The format must be found out from the data, but a slow camera is not to be waited for: 0.5 s is enough.
        return uri, {"analyzeduration": "500000", "fpsprobesize": "0"}
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    transport = dict(pairs).get("transport", "tcp").lower()
    if "transport" in dict(pairs):
        rest = urlencode([(name, value) for name, value in pairs if name != "transport"])
        uri = urlunsplit(parts._replace(query=rest))
    if transport not in _TRANSPORTS:
        raise SourceError(
            f"{without_password(uri)}: transport={transport!r}, expected one of {', '.join(_TRANSPORTS)}",
            mend="tcp loses nothing; udp is for cameras that know nothing else",
        )
    # RTSP says what is in the stream; nothing needs to be found out from the data.
    return uri, {"rtsp_transport": transport, "analyzeduration": "0", "probesize": "32", "fpsprobesize": "0"}


def _why(error: Exception, waited: bool) -> tuple[str, str]:
    """What happened, and what to do about it. FFMPEG's own text holds the password, and is left out."""
    reached = "Check that this machine reaches the camera (ping), its power and its cable"
    if waited:
        return "it is silent", reached
    if getattr(error, "errno", None) == errno.EIO:  # HTTP without a length, and RTSP in the middle of a packet
        return "the connection broke off", reached
    name = type(error).__name__
    table = {
        "HTTPUnauthorizedError": (
            "it refuses the user or the password (401)",
            "Put them into the URI: ://user:password@",
        ),
        "HTTPForbiddenError": ("it refuses access (403)", "Check the rights of the user in the camera"),
        "HTTPNotFoundError": ("it has no such path (404)", "Check the path; the camera's manual names it"),
        "ConnectionRefusedError": ("nothing listens at that port", "Check address and port, and that the camera is on"),
        "InvalidDataError": ("what it sends is no video stream", "Check port and path"),
    }
    if name in table:
        return table[name]
    text = getattr(error, "strerror", None) or name
    return str(text), f"Check address, port and path. {reached}"

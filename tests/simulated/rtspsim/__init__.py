"""A network camera that can die: starts, kills and restarts the RTSP server of server.py, and reads its barcode.

Knows the system's Python and a free port. Imports nothing of GStreamer.
"""

import shutil
import signal
import socket
import subprocess
import time
from functools import lru_cache
from pathlib import Path

from diffad_runtime.result import Image

SERVER = Path(__file__).with_name("server.py")
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
_PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "missing = [n for n in ('appsrc', 'x264enc', 'rtph264pay') if not Gst.ElementFactory.find(n)]; "
    "raise SystemExit(f'no element {missing}' if missing else 0)"
)
_BITS = 32


def system_python() -> str:
    """The Python that has the system's packages; never the virtual environment's."""
    return next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(path).exists()), "")


@lru_cache(maxsize=1)
def why_missing() -> str:
    """Why there can be no server here, fit for a skip; "" where there can."""
    python = system_python()
    if not python or shutil.which(python) is None:
        return "no system Python"
    done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.strip().splitlines()[-1:] or ["failed"]
    return f"no RTSP server ({said[0]}): apt install {PACKAGES}" if done.returncode else ""


class RtspServer:
    """A server that can die. Context manager.

    Args:
        width, height, fps, key: of the stream, key frame every `key` frames.
        login: user and password that it asks for.
    """

    def __init__(
        self,
        *,
        width: int = 320,
        height: int = 240,
        fps: int = 25,
        key: int = 25,
        login: tuple[str, str] | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._arguments = [str(value) for value in (self.port, width, height, fps, key, *(login or ()))]
        self._process: subprocess.Popen[str] | None = None
        who = ":".join(login) + "@" if login else ""
        self.uri = f"rtsp://{who}127.0.0.1:{self.port}/live"
        self.start()

    def start(self) -> float:
        """Start it; monotonic seconds at which it listened."""
        self._process = subprocess.Popen(
            [system_python(), str(SERVER), *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the RTSP server did not start")
        return time.monotonic()

    def kill(self) -> None:
        """As a power cut would: without a word to its clients."""
        self._signal(signal.SIGKILL)
        if self._process is not None and self._process.stdout is not None:
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """It keeps its connections and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> "RtspServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def made_at(image: Image, now: float) -> float:
    """Monotonic seconds at which a picture of the server was made, read from its bars; `now` tells the high bits."""
    height, width = image.shape[:2]
    line = image[height // 2, :, 1]
    bar = width // _BITS
    value = 0
    for index in range(_BITS):
        value = value * 2 + int(line[index * bar + bar // 2] > 128)
    span = 2**_BITS / 1000
    return now - ((now - value / 1000) % span)

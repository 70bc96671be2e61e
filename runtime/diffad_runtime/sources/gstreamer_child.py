"""A GStreamer pipeline in a process of its own, and its raw frames out of a pipe.

Knows how to start gst-launch-1.0, read frames of a fixed size, hear what it says, and end it. Does not know URIs,
elements or cameras. For machines whose OpenCV has no GStreamer; a pipeline that hangs or crashes takes nothing along.

The pipe is smaller than a frame, and a queue that holds one frame and drops older ones stands before it: whoever comes
late finds one old frame in the pipe, thrown away here, and then the newest.

Each frame is read straight into its own array: 1.65 ms of this process's CPU for a frame of 1080p (6.2 MB), 0.8 ms at
720p (one core of an x86 server, 150 frames at 30 a second). The command line, with any password in the pipeline, can be
seen by other users of the machine.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from diffad_runtime.result import Image

QUEUE = "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0"
_STALE_S = 0.5
_STOP_S = 1.0  # for an orderly end; a camera's daemon dislikes the other kind
_LINES = 60
_LINE_CHARS = 300
_PIPE_LEAST, _PIPE_MOST = 4096, 1 << 20  # the most that the kernel gives to everybody


class FrameTimeoutError(Exception):
    """No whole frame within the time."""


class GStreamerChild:
    """A running pipeline. One reader; `interrupt` from any thread.

    Args:
        command: words of the command line before the frames' sink; "{fd}" in one is replaced by the pipe's number.
        width, height: of the frames, pixels.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, width: int, height: int) -> None:
        self._shape = (height, width, 3)
        self._stride = (width * 3 + 3) // 4 * 4  # GStreamer's rows of BGR begin at multiples of four
        self._fd, sink = os.pipe2(os.O_CLOEXEC)
        try:
            with suppress(OSError):  # a user may hold so many pages in pipes only; then it keeps the size it has
                fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _pipe_size(self._stride * height))
            os.set_blocking(self._fd, False)
            words = [word.replace("{fd}", str(sink)) for word in command]
            self._process = _spawn(words, sink)
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(sink)
        self._said: deque[str] = deque(maxlen=_LINES)
        self._listener = threading.Thread(target=self._listen, name="gstreamer words", daemon=True)
        self._listener.start()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._ending = threading.Lock()
        self._closed = False
        self._last_read = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the child, which leads a process group of the same number."""
        return self._process.pid

    def read(self, timeout_s: float) -> Image | None:
        """The next frame, the newest for a reader who comes late.

        Returns:
            uint8 (H, W, 3), BGR, the caller's; None when the child closed the pipe, as it ended or failed, or after
            interrupt().

        Raises:
            FrameTimeoutError: no whole frame within timeout_s.
        """
        until = time.monotonic() + timeout_s
        if time.monotonic() - self._last_read > _STALE_S and self._poll.poll(0) and self._fill(until) is None:
            return None
        frame = self._fill(until)
        self._last_read = time.monotonic()
        return frame

    def _fill(self, until: float) -> Image | None:
        height, width, _ = self._shape
        rows = np.empty((height, self._stride), np.uint8)
        view = rows.data.cast("B")
        got = 0
        while got < len(view):
            left = until - time.monotonic()
            ready = self._poll.poll(max(1, left * 1000)) if left > 0 else []
            if not ready:
                raise FrameTimeoutError
            if any(fd == self._wake for fd, _ in ready):
                return None
            try:
                count = os.readv(self._fd, [view[got:]])
            except BlockingIOError:
                continue
            if count == 0:
                return None
            got += count
        if self._stride == width * 3:
            return rows.reshape(self._shape)
        return np.ascontiguousarray(rows[:, : width * 3]).reshape(self._shape)

    def said(self) -> list[str]:
        """The last lines that it printed, oldest first; complete once it has ended."""
        if self._process.poll() is not None:
            self._listener.join(0.5)
        return list(self._said)

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, negative for a signal; None where it still runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def interrupt(self) -> None:
        """Ask the child to end, and end a read in progress. Waits for nothing; any thread, at any time."""
        with self._ending:
            if not self._closed:
                os.eventfd_write(self._wake, 1)
                if self._process.poll() is None:
                    self._signal(signal.SIGINT)  # on which gst-launch-1.0 takes its pipeline down in order

    def close(self) -> None:
        """End the child and its group within little more than a second, reap it, free all. Not during a read."""
        self.interrupt()
        with self._ending:
            if self._closed:
                return
            self._closed = True
            if self.wait(_STOP_S) is None:
                self._signal(signal.SIGKILL)
                self._process.wait()
            self._listener.join(0.5)
            os.close(self._fd)
            os.close(self._wake)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            while line := pipe.readline(_LINE_CHARS):
                text = line.decode("utf-8", errors="replace").strip()
                if text:
                    self._said.append(text)


def _pipe_size(frame_bytes: int) -> int:
    """The largest power of two under a frame, so that never two lie in the pipe."""
    return min(_PIPE_MOST, max(_PIPE_LEAST, 1 << max(0, (frame_bytes - 1).bit_length() - 1)))


def _spawn(words: list[str], sink: int) -> "subprocess.Popen[bytes]":
    """Start a child that the kernel kills when this process ends.

    The kernel watches the thread that started the child, not the process: hence one thread that starts them all and
    lives as long as the process. Without setpriv, the child ends at its next frame, which nobody can take any more.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        words = [setpriv, "--pdeathsig", "KILL", *words]
    return _spawner().submit(_start, words, sink).result()


def _start(words: list[str], sink: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # some elements print there; frames go through a pipe of their own
        stderr=subprocess.STDOUT,
        pass_fds=(sink,),
        start_new_session=True,  # Ctrl-C at the terminal is for us; we end the child
    )


_spawners: dict[int, ThreadPoolExecutor] = {}
_spawners_lock = threading.Lock()


def _spawner() -> ThreadPoolExecutor:
    with _spawners_lock:
        process = os.getpid()  # a fork has the object, but not its thread
        if process not in _spawners:
            _spawners[process] = ThreadPoolExecutor(1, thread_name_prefix="gstreamer start")
        return _spawners[process]

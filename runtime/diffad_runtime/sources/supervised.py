"""A live camera that is watched, dropped when it hangs and opened again when it is lost: the threads around watch.py.

Knows threads. Does not decide anything (watch.py) and does not know what kind of device it holds.

One thread, the supervisor, lives as long as the source. It starts a reader for each connection, which opens the device,
reads it and closes it. The device of a reader that is no longer wanted is closed from a third thread; a reader that
does not come back even so is left behind: native code cannot be interrupted. What it reports from then on is ignored,
and when it comes back it closes its device. The consumer waits on a condition and takes the newest frame.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from diffad_runtime.errors import DiffadError, SourceError
from diffad_runtime.result import Frame, SourceState
from diffad_runtime.sources import watch as machine
from diffad_runtime.sources.address import without_password
from diffad_runtime.sources.base import Shot, Source, SourceStatus
from diffad_runtime.sources.frozen import FrozenPicture
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.usable import why_unusable

_log = logging.getLogger("diffad_runtime.sources")
# Without a handler of the application Python would print warnings to the terminal, over whatever is drawn there.
_log.addHandler(logging.NullHandler())

_PROBLEMS = 50
_CLOSE_S = 1.0
_POLL_S = 0.1


@dataclass(slots=True, eq=False)
class _Reader:
    """One connection, and the thread that holds it. `dropped_at` is when it was no longer wanted."""

    generation: int
    thread: threading.Thread | None = None
    device: Source | None = None
    dropped_at: float | None = None


class SupervisedSource(Source):
    """A camera that is opened again for as long as it takes.

    A frame's id counts the frames that the device gave, over all connections, so that what the consumer was too late
    for is a gap; rejected pictures take no id. A picture of a camera that is frozen or late is handed out with
    state STALLED: a part may not be judged by it, but it must get its verdict.

    Args:
        uri: shown without its password.
        open_device: opens the device and gives it, not yet read. It is called and the device is read and closed on
            threads of this source, possibly while a device from an earlier call still hangs.
        limits: None: the defaults.
        ends: an end of the device is the end, as of a clip; False: it is a camera that was lost.
        clock: monotonic seconds.
        rng: for the jitter; None: seeded by the system.

    Raises:
        SourceError: the first opening failed, and `limits.wait_s` does not say to go on trying.
        Exception: whatever else the first opening raised, as MissingExtraError; no further attempt would help.
    """

    def __init__(
        self,
        uri: str,
        open_device: Callable[[], Source],
        *,
        limits: Limits | None = None,
        ends: bool = False,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(without_password(uri), live=True, fps_hint=None)
        self.limits = limits or Limits()
        self._open_device = open_device
        self._ends = ends
        self._clock = clock
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)  # the consumer waits on it
        self._alarm = threading.Condition(self._lock)  # the supervisor waits on it
        self._watch = machine.begin(clock())
        self._frozen = FrozenPicture()
        self._comparing = threading.Lock()
        self._readers: set[_Reader] = set()
        self._newest: Shot | None = None
        self._skipped = 0
        self._fault: Exception | None = None
        self._close_until: float | None = None
        self._log_lines: deque[tuple[int, str]] = deque(maxlen=100)
        self._supervisor = threading.Thread(target=self._supervise, name="camera supervisor", daemon=True)
        self._supervisor.start()
        try:
            self._await_first_opening()
        except BaseException:
            self.close()
            raise

    @property
    def left_behind(self) -> int:
        """Readers that hang in native code at this moment; each holds its device until it comes back."""
        return sum(reader.dropped_at is not None for reader in list(self._readers))

    def status(self) -> SourceStatus:
        watch = self._watch
        detail = watch.detail
        if hanging := self.left_behind:
            detail = f"{detail} ({hanging} of at most {self.limits.abandoned} readers hang)".lstrip()
        return SourceStatus(
            watch.state,
            without_password(detail),
            frames=self._handed_out,
            last_frame=watch.last_frame,
            reconnects=watch.reconnects,
            stalls=watch.stalls,
            frozen=watch.frozen,
            rejected=watch.rejected,
        )

    def close(self) -> None:
        """As in Source, within about a second: what hangs is left behind, and lets go of its device when it returns."""
        self._closing.set()
        with self._lock:
            self._close_until = self._close_until or time.monotonic() + _CLOSE_S
            self._set(machine.ended(self._watch, "closed"))
            self._newest = None
            self._news.notify_all()
        super().close()

    # The consumer's side.

    def _grab(self) -> Shot | None:
        with self._lock:
            while True:
                if self._newest is not None:
                    shot, self._newest = self._newest, None
                    skipped, self._skipped = self._skipped, 0
                    return replace(shot, skipped=skipped)
                if self._watch.state is SourceState.FAILED:
                    raise SourceError(
                        f"camera {self.uri} was given up: {without_password(self._watch.detail)}",
                        mend="Check cable, power and network",
                    )
                if self._watch.over:
                    return None
                self._news.wait()

    def _release(self) -> None:
        current = threading.current_thread()
        until = self._close_until or 0.0  # of the first close(): several at once wait no longer than one
        for thread in [self._supervisor, *(reader.thread for reader in list(self._readers))]:
            if thread is not None and thread is not current:
                thread.join(max(0.0, until - time.monotonic()))

    def _await_first_opening(self) -> None:
        with self._lock:
            while not (self._watch.openings or self._watch.failures or self._watch.over):
                self._news.wait()
            if self._watch.openings:
                return
            fault, waits = self._fault, self.limits.wait_s != 0
            if fault is None:  # it hangs
                fault = SourceError(f"camera {self.uri}: {self._watch.detail}", mend="Check cable, power and network")
        if not (waits and isinstance(fault, SourceError | OSError)):
            raise fault

    # The supervisor.

    def _supervise(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # a fault of ours; the consumer must not wait for ever all the same
            with self._lock:
                self._set(machine.failed(self._watch, f"its supervision broke: {_told(error)}"))
        self._write_log()

    def _step(self) -> bool:
        """See what is due, and sleep until something is; whether to go on."""
        self._write_log()
        with self._lock:
            if self._watch.over:
                return False
            now = self._clock()
            before = self._watch.generation
            self._set(machine.ticked(self._watch, now, self.limits, self._rng, room=self._room(now)))
            if self._watch.generation != before:
                self._start_reader()
            at = machine.due(self._watch, self.limits)
            if at is not None and not self._log_lines:
                # Waiting for room is the one thing that has no time of its own.
                self._alarm.wait(at - now if at > now else _POLL_S)
        return True

    def _write_log(self) -> None:
        """Not under the lock, and on no other thread: a log that is slow to write must not make the camera wait."""
        while self._log_lines:
            _log.log(*self._log_lines.popleft())

    def _room(self, now: float) -> bool:
        """Whether a reader may be started: see Limits.release_s and Limits.abandoned."""
        dropped = [reader.dropped_at for reader in self._readers if reader.dropped_at is not None]
        return len(dropped) < self.limits.abandoned and all(now - at >= self.limits.release_s for at in dropped)

    def _start_reader(self) -> None:
        reader = _Reader(self._watch.generation)
        name = f"camera reader {reader.generation}"
        reader.thread = threading.Thread(target=self._read, args=(reader,), name=name, daemon=True)
        try:
            reader.thread.start()
        except RuntimeError as error:  # the process has no thread left to give
            self._lose(reader, f"no thread for it: {error}")
            return
        self._readers.add(reader)

    def _set(self, watch: machine.Watch) -> None:
        """Go on to the next value; under the lock. Whoever is no longer wanted is told, changes of state are logged."""
        before, self._watch = self._watch, watch
        if not watch.wanted:
            self._drop_unwanted()
        if watch.state is not before.state:
            quiet = {SourceState.STREAMING: logging.INFO, SourceState.ENDED: logging.DEBUG}
            level = quiet.get(watch.state, logging.WARNING)
            detail = without_password(watch.detail)
            self._log_lines.append((level, f"camera {self.uri} is {watch.state.value}{': ' * bool(detail)}{detail}"))
            self._news.notify_all()
            self._alarm.notify_all()
        if watch.failures > before.failures:
            self._note(watch.detail)
            self._news.notify_all()
            self._alarm.notify_all()

    def _drop_unwanted(self) -> None:
        for reader in self._readers:
            if reader.dropped_at is None and not self._watch.concerns(reader.generation):
                reader.dropped_at = self._clock()
                if reader.device is not None:
                    # Wakes a read that waits, but waits itself for one that hangs: hence on a thread.
                    closer = threading.Thread(
                        target=self._free, args=(reader.device,), name="camera closer", daemon=True
                    )
                    with suppress(RuntimeError):  # no thread left to give; the reader closes it when it comes back
                        closer.start()

    # A reader: these run on its thread.

    def _read(self, reader: _Reader) -> None:
        try:
            device = self._open_device()
        except Exception as error:
            with self._lock:
                self._fault = self._fault or error
                self._lose(reader, _told(error))
                self._forget(reader)
            return
        try:
            with self._lock:
                reader.device = device
                wanted = self._watch.concerns(reader.generation)
                if wanted:
                    self.fps_hint = device.fps_hint or self.fps_hint
                    self._set(machine.opened(self._watch, self._clock()))
                    self._news.notify_all()
                    self._alarm.notify_all()
            if wanted:
                self._read_on(reader, device)
        finally:
            self._free(device)
            with self._lock:
                self._forget(reader)

    def _read_on(self, reader: _Reader, device: Source) -> None:
        expected, thrown = 0, 0
        why = "it ended the stream"
        try:
            for frame in device:
                thrown_now = device.status().rejected
                if not self._take(reader, frame, gap=frame.frame_id - expected, thrown=thrown_now - thrown):
                    return
                expected, thrown = frame.frame_id + 1, thrown_now
            for line in device.problems:
                self._note(line)
        except Exception as error:  # whatever it is, the device is of no more use; the next may be
            why = _told(error)
        else:
            if self._ends:
                with self._lock:
                    if self._watch.concerns(reader.generation):
                        self._set(machine.ended(self._watch))
                return
        with self._lock:
            self._lose(reader, why)

    def _take(self, reader: _Reader, frame: Frame, *, gap: int, thrown: int) -> bool:
        """Offer a frame to the consumer; whether the device is still wanted."""
        why = why_unusable(frame.image)
        with self._comparing:
            same = not why and self.limits.frozen_s is not None and self._frozen.same(frame.image)
        with self._lock:
            if not self._watch.concerns(reader.generation):
                return False
            watch = self._watch
            for _ in range(thrown):
                watch = machine.rejected(watch, "the device found them damaged")
            if why:
                self._skipped += max(0, gap)
                self._set(machine.rejected(watch, why))
                return True
            now = self._clock()
            self._set(machine.arrived(watch, now, self.limits, captured=frame.t_monotonic, same=same))
            stalled = SourceState.STALLED in {self._watch.state, frame.source_state}
            self._skipped += max(0, gap) + (self._newest is not None)
            self._newest = Shot(
                frame.image,
                frame.name,
                frame.truth,
                frame.t_monotonic,
                SourceState.STALLED if stalled else SourceState.STREAMING,
            )
            self._news.notify_all()
            return True

    def _free(self, device: Source) -> None:
        try:
            device.close()
        except Exception as error:  # the next connection does not depend on it
            self._note(f"closing the device failed: {_told(error)}")

    def _lose(self, reader: _Reader, why: str) -> None:
        """Under the lock."""
        if self._watch.concerns(reader.generation):
            self._set(machine.lost(self._watch, self._clock(), self.limits, self._rng, why))

    def _forget(self, reader: _Reader) -> None:
        """Under the lock: its thread is about to end and its device is closed."""
        self._readers.discard(reader)
        self._alarm.notify_all()

    def _note(self, line: str) -> None:
        line = without_password(line)
        if line not in self.problems and len(self.problems) < _PROBLEMS:
            self.problems.append(line)


def _told(error: Exception) -> str:
    """The error in one line."""
    text = error.what if isinstance(error, DiffadError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]

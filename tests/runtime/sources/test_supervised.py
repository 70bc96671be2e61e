"""The threads around the state machine, with devices that fail on command: nothing hangs or grows, counts are true.

Limits are a tenth and less of the real ones, so that a second is a long time.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.feed import Feed
from diffad_runtime.result import SourceState
from diffad_runtime.sources import Limits, Source, SupervisedSource
from diffad_runtime.sources.base import Shot

FAST = Limits(
    stall_s=0.3,
    frozen_s=0.3,
    reopen_s=0.3,
    open_s=0.5,
    backoff_s=0.01,
    backoff_cap_s=0.05,
    settle_s=0.1,
    release_s=0.02,
    abandoned=3,
)
PATIENT = FAST.model_copy(update={"stall_s": 60.0})
URI = "rtsp://admin:secret@cam/1?pwd=secret"


class Device(Source):
    """Follows a script of words, then goes on with `after`. Of a class, so that a test can count what is open."""

    alive = 0
    lock = threading.Lock()

    def __init__(self, script: str | list[str] = "", after: str = "frame", hold: threading.Event | None = None) -> None:
        super().__init__("device", live=True, fps_hint=25.0)
        self.script = list(script.split() if isinstance(script, str) else script)
        self.after = after
        self.hold = hold or threading.Event()
        self.picture = 0
        self.held = True
        with Device.lock:
            Device.alive += 1

    def _grab(self) -> Shot | None:
        word = self.script.pop(0) if self.script else self.after
        if word == "frame":
            self._closing.wait(0.005)
            self.picture += 1
        elif word == "burst":
            self.picture += 1
        elif word == "silence":
            self._closing.wait()
        elif word == "hang":
            self.hold.wait(20)
        elif word == "error":
            raise SourceError("rtsp://admin:secret@cam/1 stopped", mend="Plug it in")
        elif word == "crash":
            raise ValueError("driver lost its buffers")
        elif word == "skip":
            self._next_id += 1
            return self._grab()
        elif word == "same":
            self._closing.wait(0.005)
        elif word == "late":
            self._closing.wait(0.005)
            self.picture += 1
            return Shot(_picture(self.picture), t_monotonic=time.monotonic() - 5)
        elif word in BROKEN:
            self._closing.wait(0.005)
            return Shot(BROKEN[word])
        if word == "end" or self._closing.is_set():
            return None
        return Shot(_picture(self.picture))

    def _release(self) -> None:
        with Device.lock:
            Device.alive -= self.held
            self.held = False


def _picture(number: int) -> npt.NDArray[np.uint8]:
    image = np.full((32, 48, 3), 100, np.uint8)
    image.reshape(-1)[:4] = np.frombuffer(np.uint32(number).tobytes(), np.uint8)
    return image


BROKEN: dict[str, Any] = {
    "empty": np.empty((0, 0, 3), np.uint8),
    "float": np.zeros((32, 48, 3), np.float32),
    "grey": np.zeros((32, 48), np.uint8),
    "none": None,
}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = threading.active_count()
    Device.alive = 0
    yield
    assert _soon(lambda: Device.alive == 0), f"{Device.alive} devices left open"
    assert _soon(lambda: threading.active_count() <= before), [thread.name for thread in threading.enumerate()]


def _soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def _watched(*scripts: str, after: str = "frame", limits: Limits = FAST, **options: Any) -> SupervisedSource:
    """Each opening follows the next script, the last one for ever."""
    left = list(scripts)

    def open_device() -> Source:
        script = left.pop(0) if len(left) > 1 else (left[0] if left else "")
        if script == "refused":
            raise SourceError("no stream from rtsp://admin:secret@cam/1", mend="Check it")
        return Device(script, after)

    return SupervisedSource(URI, open_device, limits=limits, **options)


def test_frames_come_numbered_and_it_says_that_it_streams() -> None:
    with _watched() as source:
        ids = [next(source).frame_id for _ in range(10)]
        status = source.status()
        assert source.live
        assert source.fps_hint == 25
    assert ids == sorted(set(ids))
    assert (status.state, status.detail, status.frames, status.reconnects) == (SourceState.STREAMING, "", 10, 0)
    assert status.last_frame is not None
    assert source.status().state is SourceState.ENDED
    assert list(source) == []


def test_the_newest_wins_and_what_was_missed_are_gaps_in_the_ids() -> None:
    script = " ".join(["burst"] * 50 + ["skip"] * 7)
    with _watched(script, after="silence", limits=PATIENT) as source:
        time.sleep(0.2)
        frame = next(source)
    # "skip" is followed by the next word; the last one ends in silence, so six skipped ids are never shown.
    assert frame.frame_id == 49
    assert int(frame.image.reshape(-1)[:4].view(np.uint32)[0]) == 50


def test_drops_of_the_device_are_drops_of_the_feed() -> None:
    with _watched("skip frame skip skip frame frame error", "frame") as source:
        feed = Feed(source)
        frames = [next(feed) for _ in range(5)]
        assert feed.dropped >= 3
        assert frames[-1].frame_id + 1 == len(frames) + feed.dropped
        feed.close()


@pytest.mark.parametrize("word", ["error", "crash", "end"])
def test_a_lost_camera_is_opened_again_and_ids_go_on(word: str) -> None:
    with _watched(f"frame frame {word}", f"{word}", "refused", "frame") as source:
        ids = [next(source).frame_id for _ in range(20)]
        status = source.status()
    assert ids == sorted(set(ids))
    assert status.state is SourceState.STREAMING
    assert status.reconnects == 2  # the refused attempt is none
    assert len(source.problems) >= 1
    assert "secret" not in " ".join([*source.problems, source.uri, status.detail])


def test_silence_is_found_within_its_limit_and_helped_by_opening_again() -> None:
    with _watched("frame frame silence", "frame") as source:
        next(source)
        start = time.monotonic()
        assert _soon(lambda: source.status().state is SourceState.STALLED)
        assert FAST.stall_s - 0.05 < time.monotonic() - start < FAST.stall_s + 0.5
        assert "no frame comes" in source.status().detail
        assert _soon(lambda: source.status().state is SourceState.STREAMING)
        status = source.status()
        assert (status.stalls, status.reconnects) == (1, 1)
        next(source)


def test_a_reader_that_hangs_is_left_behind_and_its_late_word_ignored() -> None:
    holds = [threading.Event() for _ in range(2)]
    devices = [Device("frame hang", hold=holds[0]), Device("frame hang", hold=holds[1]), Device("")]
    opened = list(devices)
    source = SupervisedSource(URI, lambda: opened.pop(0), limits=FAST)
    with source:
        assert _soon(lambda: source.status().reconnects == 2 and source.status().state is SourceState.STREAMING)
        assert source.left_behind == 2
        assert "2 of at most 3 readers hang" in source.status().detail
        frames = source.status().frames
        for hold in holds:
            hold.set()
        assert _soon(lambda: source.left_behind == 0)
        assert Device.alive == 1
        assert source.status().frames == frames


def test_no_more_than_so_many_readers_hang_and_it_goes_on_when_one_returns() -> None:
    hold = threading.Event()
    attempts: list[int] = []

    def open_device() -> Source:
        attempts.append(1)
        if len(attempts) == 1:
            return Device("frame hang", hold=hold)
        hold.wait(20)
        raise SourceError("late", mend="x")

    with SupervisedSource(URI, open_device, limits=FAST) as source:
        next(source)
        assert _soon(lambda: source.left_behind == FAST.abandoned)
        time.sleep(1.0)  # three more could have been started
        assert len(attempts) == FAST.abandoned
        assert source.status().state is SourceState.CONNECTING
        hold.set()
        assert _soon(lambda: len(attempts) > FAST.abandoned + 3)


def test_a_frozen_picture_is_told_and_its_frames_are_marked() -> None:
    with _watched(after="same") as source:
        start = time.monotonic()
        assert _soon(lambda: next(source).source_state is SourceState.STALLED)
        assert FAST.frozen_s is not None
        assert FAST.frozen_s - 0.05 < time.monotonic() - start < FAST.frozen_s + 0.5
        assert source.status().frozen == 1
        assert _soon(lambda: source.status().reconnects >= 1)
        # Opening again did not help, and its pictures are not taken for good ones.
        assert all(next(source).source_state is SourceState.STALLED for _ in range(5))
        assert source.status().frozen == 1


def test_late_pictures_are_marked() -> None:
    with _watched("frame late", after="late") as source:
        states = [next(source).source_state for _ in range(8)]
    # A capture is never before the one before it; seconds must pass until it is late.
    assert states[0] is SourceState.STREAMING
    with _watched(after="late") as source:
        assert next(source).source_state is SourceState.STALLED
        assert "late" in source.status().detail
        assert source.status().stalls == 1


@pytest.mark.parametrize("word", sorted(BROKEN))
def test_what_is_no_picture_is_counted_and_takes_no_id(word: str) -> None:
    with _watched(f"burst {word} {word} burst", after="silence", limits=PATIENT) as source:
        assert _soon(lambda: source.status().rejected == 2)
        time.sleep(0.1)
        assert next(source).frame_id == 1
    with _watched("frame", after=word) as source:
        next(source)
        assert _soon(lambda: source.status().state is SourceState.STALLED)
        assert "thrown away: " in source.status().detail
        assert _soon(lambda: source.status().reconnects >= 1)


def test_the_end_of_a_clip_is_the_end() -> None:
    with _watched("frame frame end", ends=True) as source:
        frames = list(source)
        assert 1 <= len(frames) <= 2
        assert frames[-1].frame_id == 1
        assert source.status().state is SourceState.ENDED
        assert source.status().reconnects == 0


def test_the_first_opening_fails_at_once_or_not() -> None:
    start = time.monotonic()
    with pytest.raises(SourceError, match="no stream"):
        _watched("refused", "frame")
    assert time.monotonic() - start < 1
    with _watched("refused", "refused", "frame", limits=FAST.model_copy(update={"wait_s": None})) as source:
        assert source.status().state is SourceState.CONNECTING
        assert next(source).frame_id == 0
        assert source.status().reconnects == 0
    with _watched("refused", limits=FAST.model_copy(update={"wait_s": 0.2})) as source:
        with pytest.raises(SourceError, match=r"given up.*no good frame for 0\.2.*no stream from") as caught:
            next(source)
        assert "secret" not in str(caught.value)
        assert source.status().state is SourceState.FAILED
        assert "admin:***@cam" in source.status().detail


def test_what_no_further_attempt_would_mend_is_raised_even_so() -> None:
    def open_device() -> Source:
        raise MissingExtraError("av", extra="video", purpose="reading")

    with pytest.raises(MissingExtraError):
        SupervisedSource(URI, open_device, limits=FAST.model_copy(update={"wait_s": None}))


def test_a_first_opening_that_hangs_is_given_up() -> None:
    hold = threading.Event()

    def open_device() -> Source:
        hold.wait(20)
        return Device()

    start = time.monotonic()
    with pytest.raises(SourceError, match=r"opening it took longer than 0\.5 s"):
        SupervisedSource(URI, open_device, limits=FAST)
    assert time.monotonic() - start < 2.5
    hold.set()  # what it opens now is closed at once: the fixture sees to that


def test_it_gives_up_where_it_is_told_to() -> None:
    with _watched("frame error", "refused", limits=FAST.model_copy(update={"give_up_s": 0.3})) as source:
        with pytest.raises(SourceError, match="given up"):
            list(source)
        assert source.status().state is SourceState.FAILED


@pytest.mark.parametrize("doing", ["streaming", "silence", "hanging", "connecting", "opening", "failed", "frozen"])
def test_close_in_every_state_wakes_the_consumer_and_is_done_in_time(doing: str) -> None:
    hold = threading.Event()
    slow = FAST.model_copy(update={"stall_s": 60.0, "open_s": 60.0, "backoff_s": 60.0, "backoff_cap_s": 60.0})
    scripts = {
        "streaming": ("", "frame"),
        "silence": ("frame silence", "frame"),
        "hanging": ("frame hang", "frame"),
        "frozen": ("", "same"),
    }
    script, after = scripts.get(doing, ("frame error", "frame"))
    devices = [Device(script, after, hold=hold)]
    if doing == "opening":
        slow = slow.model_copy(update={"backoff_s": 0.01})
    if doing == "failed":
        slow = FAST.model_copy(update={"give_up_s": 0.2})

    def open_device() -> Source:
        if devices:
            return devices.pop()
        if doing == "opening":
            hold.wait(20)
        raise SourceError("gone", mend="x")

    source = SupervisedSource(URI, open_device, limits=slow)
    seen: list[int] = []

    def consume() -> None:
        try:
            seen.extend(frame.frame_id for frame in source)
        except SourceError:
            seen.append(-1)

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert _soon(lambda: bool(source.status().frames))
    time.sleep(0.4)
    start = time.monotonic()
    closers = [threading.Thread(target=source.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in [*closers, consumer]:
        closer.join(5)
        assert not closer.is_alive()
    assert time.monotonic() - start < 2
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count
    assert list(source) == []
    source.close()
    assert source.status().state is (SourceState.FAILED if doing == "failed" else SourceState.ENDED)
    hold.set()


def test_thousands_of_connections_leave_threads_and_files_as_they_were() -> None:
    limits = FAST.model_copy(update={"backoff_s": 1e-4, "backoff_cap_s": 1e-4})
    with _watched("burst burst error", "burst crash", "end", "refused", "burst error", limits=limits) as source:
        assert _soon(lambda: source.status().reconnects > 100)
        gc.collect()
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        assert _soon(lambda: source.status().reconnects > 2000, 20)
        gc.collect()
        assert _soon(lambda: threading.active_count() <= threads + 1)  # one reader may be on its way out
        assert len(os.listdir("/proc/self/fd")) <= files  # noqa: PTH208
        assert len(source.problems) <= 50
        assert Device.alive <= 2


def test_states_are_logged_without_passwords(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "diffad_runtime.sources"), _watched("frame error", "frame") as source:
        assert _soon(lambda: source.status().reconnects == 1 and source.status().state is SourceState.STREAMING)
    lines = [record.message for record in caplog.records]
    assert [line.split(" is ")[1].split(":")[0] for line in lines] == ["streaming", "connecting", "streaming"]
    assert "stopped" in lines[1]
    assert "secret" not in " ".join(lines)


@given(
    st.lists(st.sampled_from(["frame", "burst", "same", "empty", "error", "crash", "end", "skip frame"]), max_size=12)
)
@settings(max_examples=25, deadline=None)
def test_any_script_ends_in_a_stream_whose_counts_add_up(words: list[str]) -> None:
    with _watched(" ".join(words), "frame") as source:
        feed = Feed(source)
        frames = [next(feed) for _ in range(5)]
        ids = [frame.frame_id for frame in frames]
        feed.close()
        status = source.status()
    assert ids == sorted(set(ids))
    assert ids[-1] + 1 == len(ids) + feed.dropped
    assert status.rejected <= words.count("empty")
    assert status.reconnects <= 1
    assert status.frames >= 5

"""The chaos camera: how each fault shows to a reader, what its log says of it, and that a script outlives openings."""

import threading
import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.chaos import (
    FAULTS,
    ChaosConfig,
    ChaosPlan,
    FaultKind,
    PlantedFault,
    ScriptedFault,
    Sign,
    open_chaos,
)
from diffad_runtime.chaos import camera as module
from diffad_runtime.errors import SourceError
from diffad_runtime.imagefile import write_png
from diffad_runtime.result import Frame, Image, SourceState
from diffad_runtime.sources import Source
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.supervised import SupervisedSource

_FPS = 100
_CONFIG = ChaosConfig(fps=_FPS, size=32, seed=3, pictures=5, noise=0)


def _plan(kind: FaultKind, *, at: float = 0.1, length: float = 0.1, amount: float = 0.0) -> ChaosPlan:
    return ChaosPlan(_CONFIG, faults=[ScriptedFault(0, kind, at, length, amount)])


def _read(source: Source, count: int) -> list[Frame]:
    return list(islice(source, count))


def _good(index: int) -> Image:
    return ChaosPlan(_CONFIG).pictures().take(index).image  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def good() -> list[Image]:
    pictures = ChaosPlan(_CONFIG).pictures()
    shots = [pictures.take(index) for index in range(60)]
    return [shot.image for shot in shots if shot is not None]


def _unlike(frames: list[Frame], good: list[Image]) -> list[int]:
    """Indices of the frames that are not the line's picture of that index."""
    return [i for i, frame in enumerate(frames) if not np.array_equal(frame.image, good[i])]


def test_without_faults_it_is_the_line_at_its_pace(good: list[Image]) -> None:
    plan = ChaosPlan.from_uri(f"chaos://?fps={_FPS}&size=32&seed=3&pictures=5&noise=0&faults=none")
    start = time.monotonic()
    with plan.open() as source:
        assert source.live
        assert source.fps_hint == _FPS
        frames = _read(source, 21)
    assert 20 / _FPS - 0.01 <= time.monotonic() - start < 20 / _FPS + 0.5
    assert _unlike(frames, good) == []
    assert [frame.frame_id for frame in frames] == list(range(21))
    assert all(frame.truth is not None and frame.truth.shape == (32, 32) for frame in frames)
    assert any(not np.array_equal(good[0], other) for other in good[1:5])
    frames[0].image[:] = 0
    assert not np.shares_memory(frames[0].image, frames[5].image)
    assert plan.log() == ()


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        (FaultKind.EMPTY, 0),
        (FaultKind.DTYPE, 0),
        (FaultKind.TRUNCATED, 0.5),
        (FaultKind.NOISE, 0.5),
        (FaultKind.SIZE, 0.5),
        (FaultKind.GREY, 0),
        (FaultKind.SWAP, 0),
        (FaultKind.GAIN, 0.3),
    ],
)
def test_spoilt_pictures_from_here_to_there(kind: FaultKind, amount: float, good: list[Image]) -> None:
    plan = _plan(kind, amount=amount)
    before = time.monotonic()
    with plan.open() as source:
        frames = _read(source, 25)
    assert _unlike(frames, good) == list(range(10, 20))
    (fault,) = plan.log()
    assert (fault.kind, fault.planned_s, fault.frames) == (kind, 0.1, 10)
    assert fault.ended is not None
    assert before + 0.09 < fault.started < fault.ended
    assert 0.09 < fault.ended - fault.started < 0.3
    # A true mask is kept where it still lies over the picture.
    assert all(
        (frame.truth is None) == (frame.image.shape != (32, 32, 3)) for frame in frames if kind is not FaultKind.DTYPE
    )


def test_freeze() -> None:
    with _plan(FaultKind.FREEZE, length=0.12).open() as source:
        images = [frame.image for frame in _read(source, 25)]
    same = [np.array_equal(a, b) for a, b in pairwise(images)]
    assert [i for i, equal in enumerate(same) if equal] == list(range(10, 21))
    assert not np.shares_memory(images[12], images[13])


def test_drop(good: list[Image]) -> None:
    plan = _plan(FaultKind.DROP, length=0.2, amount=0.5)
    with plan.open() as source:
        frames = _read(source, 30)
    ids = [frame.frame_id for frame in frames]
    missing = set(range(ids[-1] + 1)) - set(ids)
    assert 3 <= len(missing) <= 17
    assert missing <= set(range(10, 30))
    assert all(np.array_equal(frame.image, good[frame.frame_id]) for frame in frames)
    assert plan.log()[0].frames == 20 - len(missing)


def test_slow() -> None:
    with _plan(FaultKind.SLOW, length=0.2, amount=5).open() as source:
        stamps = [frame.t_monotonic for frame in _read(source, 20)]
    steps = np.diff(stamps)
    assert np.median(steps[:9]) == pytest.approx(0.01, abs=0.005)
    assert (steps[10:14] > 0.045).all()  # four frames in 0.2 s
    assert np.median(steps[15:]) == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("kind", [FaultKind.CLOCK_BACK, FaultKind.CLOCK_AHEAD])
def test_clock_jumps_reach_the_shot(kind: FaultKind) -> None:
    source = _plan(kind, at=0.0, amount=3600).open()
    shot = source._grab()
    assert shot is not None
    assert shot.t_monotonic is not None
    assert abs(shot.t_monotonic - time.monotonic()) == pytest.approx(3600, abs=5)
    assert (shot.t_monotonic > time.monotonic()) == (kind is FaultKind.CLOCK_AHEAD)
    frames = _read(source, 3)  # and Source makes sense of it
    assert all(frame.t_monotonic <= time.monotonic() for frame in frames)
    source.close()


def test_silence_is_there_after_opening_again_and_over_by_the_clock() -> None:
    plan = _plan(FaultKind.SILENCE, length=0.4)
    first = plan.open()
    seen: list[Frame] = []
    reader = threading.Thread(target=lambda: seen.extend(first))
    reader.start()
    while not plan.log():
        time.sleep(0.005)
    first.close()
    reader.join(1)
    assert not reader.is_alive()
    assert time.monotonic() - plan.log()[0].started < 0.3
    assert len(seen) == 10
    with plan.open() as second:
        frame = next(second)
        (fault,) = plan.log()
        assert fault.ended is not None
        assert time.monotonic() - fault.started >= 0.4
        assert fault.ended - fault.started == pytest.approx(0.4, abs=0.1)
    assert plan.seconds == pytest.approx(0.51)  # as if its pictures had been taken
    assert fault.frames == 0
    np.testing.assert_array_equal(frame.image, _good(50))


def test_a_hang_is_deaf_to_close_and_opening_again_helps() -> None:
    plan = _plan(FaultKind.HANG, length=0.6)
    first = plan.open()
    reader = threading.Thread(target=lambda: list(first))
    reader.start()
    while not plan.log():
        time.sleep(0.005)
    closer = threading.Thread(target=first.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive()
    assert reader.is_alive()
    with plan.open() as second:
        next(second)
        (fault,) = plan.log()
        assert fault.ended is not None
        assert fault.ended - fault.started < 0.5
        reader.join(2)
        closer.join(2)
        assert not reader.is_alive()
        assert not closer.is_alive()
        assert len(_read(second, 5)) == 5  # whoever hung does not take the stream back


def test_the_end_and_errors_stay_until_it_is_opened_again() -> None:
    for kind, error in {FaultKind.END: None, FaultKind.ERROR: SourceError, FaultKind.CRASH: RuntimeError}.items():
        plan = _plan(kind, length=0)
        with plan.open() as source:
            assert len(_read(source, 10)) == 10
            for _ in range(2):
                if error is None:
                    assert list(source) == []
                else:
                    with pytest.raises(error, match="planted"):
                        next(source)
        assert plan.log()[0].ended is None
        with plan.open() as source:
            assert plan.log()[0].ended is not None
            assert len(_read(source, 20)) == 20
        assert len(plan.log()) == 1


def test_a_storm_refuses_so_many_times() -> None:
    plan = _plan(FaultKind.STORM, length=0, amount=3)
    with plan.open() as source, pytest.raises(SourceError, match="planted: storm"):
        list(source)
    for _ in range(3):
        with pytest.raises(SourceError, match="does not open"):
            plan.open()
    with plan.open() as source:
        assert len(_read(source, 5)) == 5
    (fault,) = plan.log()
    assert fault.refused == 3
    assert fault.ended is not None


def test_a_flap_opens_gives_a_frame_and_breaks() -> None:
    plan = _plan(FaultKind.FLAP, length=0, amount=3)
    given = []
    for _ in range(4):
        with plan.open() as source:
            frames: list[Frame] = []
            try:
                frames.extend(_read(source, 15) if len(given) == 3 else iter(lambda s=source: next(s), None))
            except SourceError:
                given.append(source.status().frames)
            else:
                given.append(len(frames))
    assert given == [10, 1, 1, 15]
    assert plan.log()[0].ended is not None


def test_same_seed_same_pictures_and_the_script_goes_on_over_openings() -> None:
    def run(break_at: int) -> tuple[list[bytes], list[tuple[FaultKind, float]]]:
        uri = "chaos://?seed=11&fps=200&size=32&pictures=4&faults=corrupt,colour,drop,freeze&every=0.1&length=0.05"
        plan = ChaosPlan.from_uri(uri)
        frames = []
        for count in (break_at, 200 - break_at):
            with plan.open() as source:
                frames += _read(source, count)
        return [frame.image.tobytes() for frame in frames], [(fault.kind, fault.planned_s) for fault in plan.log()]

    first, faults = run(120)
    assert (first, faults) == run(120)
    other, others = run(3)
    assert others == faults
    assert sum(a != b for a, b in zip(first, other, strict=True)) <= 12  # a freeze cut in two holds another picture
    assert len(faults) >= 5


def test_one_stream_the_camera_opened_last_has_it() -> None:
    plan = ChaosPlan(_CONFIG, faults=[])
    with plan.open() as first:
        next(first)
        with plan.open() as second:
            assert _read(first, 3) == []
            assert len(_read(second, 3)) == 3


def test_calm_ends_what_lasts_and_plants_nothing_more() -> None:
    plan = ChaosPlan.from_uri(f"chaos://?fps={_FPS}&size=32&faults=silence&every=0.05&length=60")
    source = plan.open()
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.frame_id for frame in source))
    reader.start()
    while not plan.log():
        time.sleep(0.005)
    plan.calm()
    before = len(seen)
    while len(seen) < before + 20:
        time.sleep(0.005)
    source.close()
    reader.join(1)
    assert [fault.ended is None for fault in plan.log()] == [False]
    storm = _plan(FaultKind.STORM, amount=50)
    with storm.open() as camera, pytest.raises(SourceError):
        list(camera)
    storm.calm()
    storm.open().close()


def test_over_a_folder_that_ends(tmp_path: Path) -> None:
    for level in (50, 100):
        write_png(tmp_path / f"{level}.png", np.full((8, 8, 3), level, np.uint8))
    plan = ChaosPlan.from_uri(f"chaos://?fps={_FPS}&faults=gain&every=0.1&length=0.1&over=dir://{tmp_path}")
    with plan.open() as source:
        frames = _read(source, 12)
    (fault,) = plan.log()
    first = round(fault.planned_s * _FPS + 0.5 - 1e-6)
    levels = [int(frame.image[0, 0, 0]) for frame in frames]
    expected = [level * (0.35 if index >= first else 1) for index, level in enumerate([100, 50] * 6)]
    np.testing.assert_allclose(levels, expected, atol=1)
    assert [frame.name for frame in frames[:3]] == ["100.png", "50.png", "100.png"]
    assert ChaosPlan.from_uri("chaos://?over=dir:///nowhere/at/all").log() == ()
    with pytest.raises(SourceError, match="/nowhere/at/all"):
        ChaosPlan.from_uri("chaos://?over=dir:///nowhere/at/all").open()


def test_close_wakes_the_source_under_it() -> None:
    plan = ChaosPlan.from_uri("chaos://?faults=none&over=synthetic%3A%2F%2Fline%3Fsize=32%26fps=0.05")  # 20 s a frame
    source = plan.open()
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.frame_id for frame in source))
    reader.start()
    while not seen:
        time.sleep(0.005)
    start = time.monotonic()
    source.close()
    source.close()
    reader.join(2)
    assert not reader.is_alive()
    assert time.monotonic() - start < 1
    assert list(source) == []


def test_the_same_uri_is_the_same_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_plans", type(module._plans)())
    uri = f"chaos://?fps={_FPS}&size=32&pictures=3&faults=none"
    with open_chaos(uri) as source:
        first = [frame.image for frame in _read(source, 4)]
    with open_chaos(uri) as source:
        np.testing.assert_array_equal(next(source).image, first[1])  # picture 4 of three
    for seed in range(40):
        open_chaos(f"{uri}&seed={seed}").close()
    assert len(module._plans) == 16


# What a supervisor makes of it: each kind shows by one of its signs, and the stream comes back.

_LIMITS = Limits(
    stall_s=0.4, frozen_s=0.4, reopen_s=0.4, backoff_s=0.05, backoff_cap_s=0.1, settle_s=0.1, release_s=0.1
)
_SEEN_BY_SOURCE = {Sign.FROZEN, Sign.STALLS, Sign.RECONNECTS, Sign.REJECTED}
# These are pictures as good as any to a source; that they are no good is seen by who judges them.
_SEEN_LATER = {FaultKind.TRUNCATED, FaultKind.SIZE, FaultKind.GREY, FaultKind.SWAP, FaultKind.GAIN}


def test_supervised_every_kind_shows_by_its_signs_and_the_stream_comes_back() -> None:
    wrong: dict[FaultKind, str] = {}

    def check(kind: FaultKind) -> None:
        try:
            wrong[kind] = _supervised(kind)
        except BaseException as error:
            wrong[kind] = repr(error)

    threads = [threading.Thread(target=check, args=(kind,)) for kind in FaultKind]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {kind: text for kind, text in wrong.items() if text} == {}
    assert set(wrong) == set(FaultKind)


def _supervised(kind: FaultKind) -> str:
    """What is wrong, "" where nothing is."""
    config = ChaosConfig(fps=30, size=32, seed=3, pictures=5)
    script = [ScriptedFault(0, kind, 0.5, 1.2 if FAULTS[kind].lasting else 0.0, FAULTS[kind].amount)]
    plan = ChaosPlan(config, faults=script)
    with SupervisedSource("chaos://", plan.open, limits=_LIMITS) as source:
        taken: list[Frame] = []
        reader = threading.Thread(target=lambda: taken.extend(source), daemon=True)
        reader.start()
        noticed, fault = _watch_for(plan, source)
        if fault is None:
            return f"not over: {plan.log()}"
        needed = bool(fault.about.signs) and kind not in _SEEN_LATER
        if needed != (noticed is not None):
            return f"noticed {noticed}, signs {fault.about.signs}"
        if noticed is not None and not 0 <= noticed - fault.started < 0.4 + 2:
            return f"noticed after {noticed - fault.started:.2f} s"
        count = len(taken)
        until = time.monotonic() + 3
        while len(taken) < count + 10 or source.status().state is not SourceState.STREAMING:
            if time.monotonic() > until:
                return f"{len(taken) - count} frames after it, {source.status()}"
            time.sleep(0.01)
    reader.join(2)
    return "its reader hangs" if reader.is_alive() else ""


def _watch_for(plan: ChaosPlan, source: SupervisedSource) -> tuple[float | None, PlantedFault | None]:
    """When the first sign showed, and the fault once it is over."""
    until = time.monotonic() + 8
    while time.monotonic() < until:
        status = source.status()
        log = plan.log()
        over = log[0] if log and log[0].ended is not None else None
        if status.frozen or status.stalls or status.reconnects or status.rejected:
            noticed = time.monotonic()
            while over is None and time.monotonic() < until:
                time.sleep(0.01)
                over = plan.log()[0] if plan.log()[0].ended is not None else None
            return noticed, over
        if over is not None and over.ended is not None and time.monotonic() > over.ended + 0.5:
            return None, over
        time.sleep(0.01)
    return None, None

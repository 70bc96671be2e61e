"""When a run is well: each rule alone, and over time."""

import math
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.health.limits import Limits, Progress, follow, verdict_of_health
from diffad_runtime.result import SourceState
from diffad_runtime.snapshot import Snapshot

from .conftest import WELL

Snap = Callable[..., Snapshot]
LIMITS = Limits(frame_age_s=10, verdict_age_s=10, camera_away_s=60, errors_in_row=20)


def judged(snapshots: Iterable[Snapshot], limits: Limits = LIMITS) -> list[tuple[str, ...]]:
    progress: Progress | None = None
    found = []
    for snapshot in snapshots:
        progress = follow(progress, snapshot)
        found.append(verdict_of_health(snapshot, limits, progress))
    return found


def test_well(snap: Snap) -> None:
    assert verdict_of_health(snap(), LIMITS) == ()


def test_no_frame_though_streaming(snap: Snap) -> None:
    assert verdict_of_health(snap(last_frame=990.5, last_verdict=990.6), LIMITS) == ()
    (reason,) = verdict_of_health(snap(last_frame=989.5, last_verdict=989.6), LIMITS)
    assert reason == "no frame for 10.5 s, limit 10, though the source says streaming"


def test_before_the_first_frame_the_start_counts(snap: Snap) -> None:
    young = snap(started=995.0, last_frame=None, last_verdict=None)
    assert verdict_of_health(young, LIMITS) == ()
    assert "no frame for 1000.0 s" in verdict_of_health(snap(last_frame=None, last_verdict=None), LIMITS)[0]


@pytest.mark.parametrize("state", [SourceState.CONNECTING, SourceState.STALLED])
def test_a_camera_may_be_away_for_a_while(snap: Snap, state: SourceState) -> None:
    short = snap(state=state, last_frame=941.0, last_verdict=941.1, detail="no route")
    long = snap(state=state, last_frame=939.0, last_verdict=939.1, detail="no route")
    assert verdict_of_health(short, LIMITS) == ()
    assert verdict_of_health(long, LIMITS) == (f"the camera is {state.value} for 61 s, limit 60: no route",)
    assert verdict_of_health(long, Limits(camera_away_s=math.inf)) == ()


def test_a_frozen_picture_counts_from_when_it_froze(snap: Snap) -> None:
    """Frames go on coming, so that their age says nothing."""
    shots = [snap(now=1000.0 + t, last_frame=999.9 + t, last_verdict=999.95 + t) for t in range(3)]
    frozen = [
        snap(now=1003.0 + t, last_frame=1002.9 + t, last_verdict=1002.95 + t, state=SourceState.STALLED)
        for t in range(0, 120, 10)
    ]
    found = judged([*shots, *frozen])
    assert [bool(each) for each in found] == [False] * (3 + 6) + [True] * 6
    assert judged([*shots, *frozen, shots[0]])[-1] == ()


def test_given_up_is_not_well_and_ended_is(snap: Snap) -> None:
    assert verdict_of_health(snap(state=SourceState.FAILED, detail="gone"), LIMITS) == (
        "the source has given up: gone",
    )
    assert verdict_of_health(snap(state=SourceState.ENDED, last_frame=1.0, last_verdict=1.5), LIMITS) == ()


def test_a_judge_that_hangs_while_frames_come(snap: Snap) -> None:
    found = judged(snap(now=1000.0 + t, last_frame=999.9 + t, last_verdict=999.95) for t in range(15))
    assert [bool(each) for each in found] == [False] * 11 + [True] * 4
    assert found[-1] == ("what waits has no verdict for 14.0 s, limit 10",)


def test_the_first_frame_after_a_long_silence_is_not_late_at_once(snap: Snap) -> None:
    """A camera came back after 50 s; its first frame waits for its verdict since 10 ms."""
    away = [
        snap(now=1000.0 + t, last_frame=999.9, last_verdict=999.95, state=SourceState.STALLED) for t in range(0, 50, 5)
    ]
    back = snap(now=1050.0, last_frame=1049.99, last_verdict=999.95)
    assert judged([*away, back])[-1] == ()
    assert verdict_of_health(back, LIMITS) != ()  # alone, it cannot be told from a judge that hangs


def test_triggered_lines_may_be_silent(snap: Snap) -> None:
    silent = snap(triggered=True, last_frame=100.0, last_verdict=100.1)
    assert verdict_of_health(silent, LIMITS) == ()
    # A trigger comes: it is not answered for 50 ms, then for 20 s.
    waits = [
        snap(triggered=True, pending=1, now=1000.0 + t, last_frame=100.0, last_verdict=100.1) for t in (0.05, 5, 20)
    ]
    found = judged([silent, *waits])
    assert found[:3] == [(), (), ()]
    assert len(found[3]) == 2  # neither a frame nor a verdict


def test_triggers_that_are_answered_with_error_for_want_of_a_picture_are_no_reason(snap: Snap) -> None:
    """A broken trigger cable: no restart mends that, and every trigger has its verdict."""
    shots = [
        snap(
            triggered=True,
            pending=1,
            now=1000.0 + t,
            last_frame=900.0,
            last_verdict=999.5 + t,
            verdicts={"OK": 90, "NG": 8, "ERROR": 2 + t},
        )
        for t in range(100)
    ]
    assert set(judged(shots)) == {()}


def errors(number: int, *, ok: int = 90, late: int = 0) -> dict[str, object]:
    return {"verdicts": {"OK": ok, "NG": 8, "ERROR": 2 + number}, "late": 1 + late}


def test_an_engine_that_errs_on_every_frame(snap: Snap) -> None:
    assert judged(snap(**errors(n)) for n in range(25))[-6:] == [
        (),
        *[(f"the last {n} verdicts are ERROR, limit 20",) for n in range(20, 25)],
    ]
    # One good verdict between them, parts that were late, a camera that is away: no reason.
    assert set(judged(snap(**errors(n, ok=90 + n // 10)) for n in range(100))) == {()}
    assert set(judged(snap(**errors(n, late=n)) for n in range(100))) == {()}
    assert set(judged(snap(**errors(n), state=SourceState.STALLED) for n in range(100))) == {()}
    assert set(judged((snap(**errors(n)) for n in range(100)), Limits(errors_in_row=0))) == {()}


def test_errors_from_the_first_frame_on(snap: Snap) -> None:
    assert verdict_of_health(snap(verdicts={"OK": 0, "NG": 0, "ERROR": 30}, late=0), LIMITS) != ()


@given(
    st.lists(
        st.tuples(st.floats(0.01, 2.0), st.sampled_from(["verdict", "frame", "both"]), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_a_run_that_answers_every_frame_within_the_limits_is_never_unwell(steps: list[tuple[float, str, bool]]) -> None:
    """Any interleaving of frames and verdicts, with less than 10 s between two of either."""
    from dataclasses import replace

    now, last_frame, last_verdict, judged_parts = 1000.0, 999.9, 999.95, 90
    shots = []
    for wait, what, ng in steps:
        now += wait
        if what != "verdict" or now - last_frame > 8:
            last_frame = now
        if what != "frame" or now - last_verdict > 6:
            last_verdict, judged_parts = now, judged_parts + 1
        shots.append(
            replace(
                WELL,
                now=now,
                last_verdict=last_verdict,
                verdicts={"OK": judged_parts, "NG": 8 + ng, "ERROR": 2},
                source=replace(WELL.source, last_frame=last_frame),
            )
        )
    assert set(judged(shots)) == {()}

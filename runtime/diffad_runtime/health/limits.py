"""From a snapshot to the reasons why a run is not well. Pure: numbers in, sentences out.

Knows ages and counts. Does not know clocks, threads, sockets or what becomes of the reasons (watchdog.py, metrics.py).

A run is well when whatever waits for a judgement gets one soon, and when frames come. Silence is no fault of its own: a
source that ended gives nothing more, and a triggered line that asks for nothing gets nothing. A camera that is away is
another thing than a judge that hangs: the source opens it again by itself, so it may be away for long before a restart
is worth trying.

One snapshot does not tell for how long something has been so. `follow` keeps that from one snapshot to the next.
"""

from dataclasses import dataclass

from diffad_runtime.result import SourceState
from diffad_runtime.snapshot import Snapshot

_AWAY = (SourceState.CONNECTING, SourceState.STALLED)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run is not well any more.

    Attributes:
        frame_age_s: seconds without a frame from a source that says that it streams. A live source notices by itself
            and says STALLED, well before; one that does not has a thread that hangs.
        verdict_age_s: seconds that a frame, or a trigger, waits for its verdict.
        camera_away_s: seconds that a camera may be connecting, stalled or frozen; math.inf: for ever.
        errors_in_row: ERROR verdicts one after the other while frames come in time; late parts do not count. 0: any
            number.
    """

    frame_age_s: float = 10.0
    verdict_age_s: float = 10.0
    camera_away_s: float = 600.0
    errors_in_row: int = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """What snapshots tell together. Times are those of the snapshots; between two of them, the earlier one counts.

    Attributes:
        settled: when last nothing waited for a verdict, or a verdict came.
        present: when the source was last seen neither connecting nor stalled; else its last frame, or the run's start.
        judged: OK and NG together, at the last snapshot.
        errors: ERROR without late parts, since the last one that was judged.
        failed: all ERROR without late parts, at the last snapshot.
        verdicts: all of them, at the last snapshot.
    """

    settled: float
    present: float
    judged: int
    errors: int
    failed: int
    verdicts: int


def follow(progress: Progress | None, snapshot: Snapshot) -> Progress:
    """Take one more snapshot of the same run into account; None: it is the first."""
    judged = snapshot.verdicts.get("OK", 0) + snapshot.verdicts.get("NG", 0)
    error = snapshot.verdicts.get("ERROR", 0)
    failed = max(0, error - snapshot.late)
    here = snapshot.source.state not in _AWAY
    if progress is None:
        return Progress(
            settled=snapshot.now - (verdict_age(snapshot) if _waits(snapshot) else 0.0),
            present=snapshot.now - (0.0 if here else frame_age(snapshot)),
            judged=judged,
            errors=0 if judged else failed,
            failed=failed,
            verdicts=judged + error,
        )
    moved = judged + error != progress.verdicts
    return Progress(
        settled=progress.settled if _waits(snapshot) and not moved else snapshot.now,
        present=snapshot.now if here else progress.present,
        judged=judged,
        errors=0 if judged != progress.judged else progress.errors + max(0, failed - progress.failed),
        failed=failed,
        verdicts=judged + error,
    )


def verdict_of_health(snapshot: Snapshot, limits: Limits, progress: Progress | None = None) -> tuple[str, ...]:
    """Reasons why the run is not well, one line each; empty where it is.

    Args:
        snapshot: now.
        limits: how long is too long.
        progress: `follow` of all snapshots up to this one. None: this one is judged alone, and what waits counts as
            waiting since the last verdict: right after a silence that is too strict, for as long as a judgement takes.
    """
    if snapshot.source.state is SourceState.ENDED:
        return ()
    if progress is None:
        progress = follow(None, snapshot)
    return tuple(
        reason
        for reason in (
            _source(snapshot, limits, progress),
            _judge(snapshot, limits, progress),
            _errors(snapshot, limits, progress),
        )
        if reason
    )


def _source(snapshot: Snapshot, limits: Limits, progress: Progress) -> str:
    source = snapshot.source
    detail = f": {source.detail}" if source.detail else ""
    if source.state is SourceState.FAILED:
        return f"the source has given up{detail}"
    age = frame_age(snapshot)
    if source.state in _AWAY:
        # A frozen picture goes on giving frames: what counts then is how long it has been frozen.
        away = max(age, snapshot.now - progress.present)
        if away > limits.camera_away_s:
            return f"the camera is {source.state.value} for {away:.0f} s, limit {limits.camera_away_s:.0f}{detail}"
        return ""
    # A camera with a hardware trigger shows nothing while no part comes: it is missed from when one waits for it.
    waited = min(age, snapshot.now - progress.settled) if snapshot.triggered else age
    if waited > limits.frame_age_s:
        return f"no frame for {waited:.1f} s, limit {limits.frame_age_s:g}, though the source says streaming"
    return ""


def _judge(snapshot: Snapshot, limits: Limits, progress: Progress) -> str:
    if not _waits(snapshot):
        return ""
    since = progress.settled if snapshot.last_verdict is None else max(progress.settled, snapshot.last_verdict)
    age = snapshot.now - since
    if age > limits.verdict_age_s:
        return f"what waits has no verdict for {age:.1f} s, limit {limits.verdict_age_s:g}"
    return ""


def _errors(snapshot: Snapshot, limits: Limits, progress: Progress) -> str:
    # Without pictures every part is ERROR, and no restart of the engine will mend that.
    pictures = snapshot.source.state is SourceState.STREAMING and frame_age(snapshot) <= limits.frame_age_s
    if limits.errors_in_row and pictures and progress.errors >= limits.errors_in_row:
        return f"the last {progress.errors} verdicts are ERROR, limit {limits.errors_in_row}"
    return ""


def _waits(snapshot: Snapshot) -> bool:
    """Whether something is there that wants a verdict."""
    if snapshot.triggered:
        return snapshot.pending > 0
    last = snapshot.source.last_frame
    return last is not None and (snapshot.last_verdict is None or last > snapshot.last_verdict)


def frame_age(snapshot: Snapshot) -> float:
    """Seconds since the last frame, or since the start where there was none."""
    last = snapshot.source.last_frame
    return max(0.0, snapshot.now - (snapshot.started if last is None else last))


def verdict_age(snapshot: Snapshot) -> float:
    """Seconds since the last verdict, or since the start where there was none."""
    last = snapshot.last_verdict
    return max(0.0, snapshot.now - (snapshot.started if last is None else last))

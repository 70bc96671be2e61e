"""What a live camera is doing, as a state machine: one value, and functions from it and one event to the next value.

Pure: no thread, no clock, no device; time is an argument, seconds on the monotonic clock. `supervised.py` feeds it what
happens and does what it says: a generation that appeared is opened, one that is no longer `wanted` is dropped.

    CONNECTING --opened, first frame--> STREAMING --no frame, old frame, same picture--> STALLED --frame--> STREAMING
    any of them --lost, or stalled for too long--> CONNECTING, after a wait that grows
    any of them --closed, or the end of a clip--> ENDED;  without a good frame for too long--> FAILED
"""

import random
from dataclasses import dataclass, replace

from diffad_runtime.result import SourceState
from diffad_runtime.sources.backoff import backoff
from diffad_runtime.sources.limits import Limits

OVER = frozenset({SourceState.ENDED, SourceState.FAILED})


@dataclass(frozen=True, slots=True)
class Watch:
    """One moment of a supervised camera. Make the first with `begin`.

    Attributes:
        state, detail: as in SourceStatus.
        generation: number of the connection that is made or in use, from 1; 0 before the first attempt.
        wanted: that connection is made or in use; False: it is to be dropped, the next is due at `retry_at`.
        opened_at: when the connection in use was opened, None while it is made.
        since: when the attempt to open began, or the stall.
        good_at: when a frame last came that can be judged; before the first, when it was first opened, or the start.
        changed_at: when the picture last changed.
        retry_at: not before that the next attempt is made; means nothing while `wanted`.
        still: the picture is frozen. Outlives a connection: opening again did not help until another picture came.
        spoilt: why pictures are thrown away, if none came since that was not; else "".
        failures: attempts in a row that did not lead to a camera that stays.
        openings: successful ones.
        frames: pictures that came, good or not, rejected ones not among them.
        last_frame: capture of the last of them, None before the first.
        stalls, frozen, rejected: as in SourceStatus.
    """

    state: SourceState = SourceState.CONNECTING
    detail: str = "not opened yet"
    generation: int = 0
    wanted: bool = False
    opened_at: float | None = None
    since: float = 0.0
    good_at: float = 0.0
    changed_at: float = 0.0
    retry_at: float = 0.0
    still: bool = False
    spoilt: str = ""
    failures: int = 0
    openings: int = 0
    frames: int = 0
    last_frame: float | None = None
    stalls: int = 0
    frozen: int = 0
    rejected: int = 0

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.state in OVER

    @property
    def reconnects(self) -> int:
        """As in SourceStatus."""
        return max(0, self.openings - 1)

    def concerns(self, generation: int) -> bool:
        """Whether what that connection reports still counts."""
        return self.wanted and generation == self.generation and not self.over


def begin(now: float) -> Watch:
    """Before the first attempt, which is due at once."""
    return Watch(since=now, good_at=now, changed_at=now, retry_at=now)


def opened(watch: Watch, now: float) -> Watch:
    """The device is open. It streams only from its first frame on."""
    good_at = watch.good_at if watch.openings else now
    openings = watch.openings + 1
    return replace(watch, opened_at=now, good_at=good_at, detail="opened, no frame yet", spoilt="", openings=openings)


def arrived(watch: Watch, now: float, limits: Limits, *, captured: float, same: bool) -> Watch:
    """A usable picture came.

    Args:
        captured: when it was taken.
        same: it is bit-identical to the one before.
    """
    watch = replace(watch, frames=watch.frames + 1, last_frame=captured, spoilt="")
    # A camera that was away for long may come back with the picture it left with; only what is seen counts.
    seen_still = now - max(watch.changed_at, watch.opened_at or watch.changed_at)
    if not same:
        watch = replace(watch, changed_at=now, still=False)
    elif not watch.still and limits.frozen_s is not None and seen_still > limits.frozen_s:
        watch = replace(watch, still=True, frozen=watch.frozen + 1)
    if watch.still:
        return _stalled(watch, now, f"the picture has not changed for {now - watch.changed_at:.1f} s")
    if now - captured > limits.stall_s:
        return _stalled(watch, now, f"pictures come {now - captured:.1f} s late", count=True)
    settled = watch.opened_at is not None and now - watch.opened_at >= limits.settle_s
    return replace(
        watch, state=SourceState.STREAMING, detail="", good_at=now, failures=0 if settled else watch.failures
    )


def rejected(watch: Watch, why: str) -> Watch:
    """A picture came that cannot be used; it is no sign of life."""
    spoilt = f"pictures are thrown away: {why}"
    detail = watch.detail if watch.state is SourceState.STREAMING else spoilt
    return replace(watch, rejected=watch.rejected + 1, spoilt=spoilt, detail=detail)


def lost(watch: Watch, now: float, limits: Limits, rng: random.Random, why: str) -> Watch:
    """The device failed to open, failed while it was read, ended, or was found to hang: another attempt, later."""
    failures = watch.failures + 1
    wait = backoff(failures, first_s=limits.backoff_s, cap_s=limits.backoff_cap_s, jitter=limits.jitter, rng=rng)
    return replace(
        watch,
        state=SourceState.CONNECTING,
        detail=why,
        wanted=False,
        opened_at=None,
        failures=failures,
        retry_at=now + wait,
    )


def ended(watch: Watch, why: str = "") -> Watch:
    """It is over in a good way: closed, or a clip at its end."""
    return watch if watch.over else replace(watch, state=SourceState.ENDED, detail=why, wanted=False)


def failed(watch: Watch, why: str) -> Watch:
    """It is over in a bad way."""
    return watch if watch.over else replace(watch, state=SourceState.FAILED, detail=why, wanted=False)


def ticked(watch: Watch, now: float, limits: Limits, rng: random.Random, *, room: bool) -> Watch:
    """Time passed.

    Args:
        room: another reader may be started: the last one has let go of the device, or few enough hang.
    """
    if watch.over:
        return watch
    patience = limits.give_up_s if watch.openings else _patience_at_start(limits)
    if patience is not None and now - watch.good_at > patience:
        return failed(watch, f"no good frame for {now - watch.good_at:.1f} s, last of all: {watch.detail}")
    if not watch.wanted:
        if now < watch.retry_at or not room:
            return watch
        return replace(watch, generation=watch.generation + 1, wanted=True, opened_at=None, since=now)
    if watch.opened_at is None:
        hangs = now - watch.since > limits.open_s
        return lost(watch, now, limits, rng, f"opening it took longer than {limits.open_s:g} s") if hangs else watch
    return _overdue(watch, watch.opened_at, now, limits, rng)


def due(watch: Watch, limits: Limits) -> float | None:
    """When `ticked` may next change something; None: only an event can."""
    if watch.over:
        return None
    if not watch.wanted:
        at = watch.retry_at
    elif watch.opened_at is None:
        at = watch.since + limits.open_s
    elif watch.state is SourceState.STALLED:
        at = watch.since + limits.reopen_s
    else:
        at = max(watch.good_at, watch.opened_at) + limits.stall_s
    patience = limits.give_up_s if watch.openings else _patience_at_start(limits)
    return at if patience is None else min(at, watch.good_at + patience)


def _overdue(watch: Watch, opened_at: float, now: float, limits: Limits, rng: random.Random) -> Watch:
    """An open device whose frames do not come is stalled, and when that lasts, lost."""
    silent = now - max(watch.good_at, opened_at)
    if watch.state is SourceState.STALLED:
        if now - watch.since > limits.reopen_s:
            return lost(watch, now, limits, rng, f"closed to open it again: {watch.detail}")
    elif silent > limits.stall_s:
        return _stalled(watch, now, f"{watch.spoilt or 'no frame comes'}, for {silent:.1f} s", count=True)
    return watch


def _patience_at_start(limits: Limits) -> float | None:
    """A wait of 0 is not measured by the clock: the first failure ends it, which the shell sees to."""
    return None if limits.wait_s == 0 else limits.wait_s


def _stalled(watch: Watch, now: float, detail: str, *, count: bool = False) -> Watch:
    already = watch.state is SourceState.STALLED
    return replace(
        watch,
        state=SourceState.STALLED,
        detail=detail,
        since=watch.since if already else now,
        stalls=watch.stalls + (count and not already),
    )

"""What the page says in words and figures: the newest part, the strip of scores, and cards of rows.

Knows units, order and what is worth an alert. Pure: everything comes as arguments. Does not know HTML; whatever came
from outside (names, ids, error texts) is made printable and short here, and is put on the page as text, never as HTML.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffad_runtime.preview.rejects import Reject
from diffad_runtime.preview.settings import About
from diffad_runtime.preview.sink import Mark
from diffad_runtime.result import Frame, Result, SourceState
from diffad_runtime.snapshot import Snapshot

_LONGEST = 200
_MOST_ROWS = 16
_MOST_ALERTS = 8
_SOURCE_LEVEL = {
    SourceState.STREAMING: "ok",
    SourceState.CONNECTING: "warn",
    SourceState.STALLED: "bad",
    SourceState.FAILED: "bad",
    SourceState.ENDED: "warn",
}
Row = dict[str, Any]
"""{"cells": [header, ...], "level": "", "ok", "warn" or "bad"}."""


def text(value: object, longest: int = _LONGEST) -> str:
    """As it may stand on the page: one line, printable, not endless. Signs that turn text around are not printable."""
    shown = "".join(mark if mark.isprintable() else "\ufffd" for mark in str(value)[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def count(number: int) -> str:
    """12345 -> "12 345", with spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds in the two units that matter, as in "3 h 12 min"."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def figure(value: float) -> float | None:
    """Five digits of it; None for what is no number, as JSON has none."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def part(number: int, result: Result, taken: float, now: float) -> dict[str, Any]:
    """One part.

    Args:
        number: of the result within the run.
        result: its arrays are not looked at.
        taken, now: when its picture was taken, and now; seconds on the monotonic clock.
    """
    return {
        "number": number,
        "verdict": result.verdict.value,
        "score": figure(result.score),
        "threshold": figure(result.image_threshold),
        "frame": result.frame_id,
        "part": text(result.part_id),
        "name": text(result.name),
        "recipe": text(result.recipe),
        "error": text(result.error),
        "code": result.code.name if result.code else "",
        "defects": len(result.defects),
        "captured_ms": round(1e3 * result.t_capture.timestamp()),
        "age_s": round(max(0.0, now - taken), 3),
    }


def newest(number: int, frame: Frame, result: Result, now: float) -> dict[str, Any]:
    """As `part`, with the regions of the recipe."""
    regions = [
        {
            "name": text(one.region),
            "score": figure(one.score),
            "threshold": figure(one.threshold),
            "verdict": one.verdict.value,
        }
        for one in result.regions[:_MOST_ROWS]
    ]
    return {**part(number, result, frame.t_monotonic, now), "regions": regions}


def rejects(kept: Sequence[Reject], now: float) -> list[dict[str, Any]]:
    """As `part`, one for each."""
    return [part(one.number, one.result, one.at, now) for one in kept]


def strip(marks: Sequence[Mark]) -> dict[str, Any]:
    """Scores, thresholds and verdicts ("O", "N", "E") of the last results, oldest first."""
    return {
        "scores": [figure(mark.score) for mark in marks],
        "thresholds": [figure(mark.threshold) for mark in marks],
        "verdicts": "".join(mark.verdict.value[0] for mark in marks),
    }


def rate(marks: Sequence[Mark], now: float) -> str:
    """Results a second, or a minute where they are few; of the last seconds, so that a stop shows soon."""
    for window in (5.0, 60.0):
        within = [mark for mark in marks if mark.at > now - window]
        if len(within) >= 5:
            span = now - within[0].at if len(within) == len(marks) else window
            per_s = len(within) / max(span, 1e-3)
            return f"{per_s:.1f} /s" if per_s >= 1 else f"{60 * per_s:.1f} /min"
    return f"{len([mark for mark in marks if mark.at > now - 60.0])} /min"


def latency_card(latencies: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Percentiles of each stage, nearest rank. A stage that a part did not go through is 0 there and does not count."""
    stages: dict[str, list[float]] = {}
    for one in latencies:
        for stage, value in one.items():
            if value != 0.0 and math.isfinite(value):
                stages.setdefault(stage, []).append(value)
    rows = []
    for stage in sorted(stages, key=lambda name: name in {"total", "trigger"}):  # sums come last
        quantiles = np.quantile(stages[stage], [0.5, 0.95, 0.99], method="inverted_cdf")
        rows.append(_row(text(stage, 40), *(_milliseconds(float(value)) for value in quantiles)))
    note = f"milliseconds, of the last {count(len(latencies))} results" if latencies else "no result yet"
    return {"title": "Latency", "head": ["stage", "p50", "p95", "p99"], "rows": rows[:_MOST_ROWS], "note": note}


def cards(snapshot: Snapshot, about: About) -> list[dict[str, Any]]:
    """{"title", "head", "rows", "note"} for camera, outputs, line and model."""
    shown = [_camera(snapshot, about), _outputs(snapshot)]
    if snapshot.line or snapshot.triggered:
        shown.append(_line(snapshot))
    return [*shown, _model(snapshot, about)]


def alerts(snapshot: Snapshot, *, ended: bool) -> list[dict[str, str]]:
    """{"level": "warn" or "bad", "text"}: what somebody should look after, the worst first."""
    found = []
    source = snapshot.source
    if ended:
        found.append(("warn", "The run has ended. What you see is its last part."))
    elif (level := _SOURCE_LEVEL[source.state]) != "ok":
        found.append((level, f"The camera is {source.state.value}{f': {source.detail}' if source.detail else ''}"))
    found += [("warn", line) for line in snapshot.setup_faults]
    found += [("warn", f"Output {sink.name}: {sink.last_error}") for sink in snapshot.sinks if not sink.healthy]
    found += [
        ("warn", f"Line signal {one.name} is not connected{f': {one.last_error}' if one.last_error else ''}")
        for one in snapshot.line
        if not one.connected
    ]
    found.sort(key=lambda one: one[0] != "bad")
    more = len(found) - _MOST_ALERTS
    told = [{"level": level, "text": text(line)} for level, line in found[:_MOST_ALERTS]]
    return [*told, {"level": "warn", "text": f"and {more} more"}] if more > 0 else told


def _camera(snapshot: Snapshot, about: About) -> dict[str, Any]:
    source = snapshot.source
    rows = [_row("state", source.state.value, level=_SOURCE_LEVEL[source.state])]
    if about.camera:
        rows.append(_row("source", text(about.camera)))
    if source.last_frame is not None:
        rows.append(_row("last frame", f"{max(0.0, snapshot.now - source.last_frame):.1f} s ago"))
    rows.append(_row("frames", count(source.frames)))
    rows.append(_row("dropped", count(snapshot.dropped)))
    for name, number in (
        ("reconnects", source.reconnects),
        ("stalls", source.stalls),
        ("frozen", source.frozen),
        ("thrown away", source.rejected),
    ):
        if number:
            rows.append(_row(name, count(number), level="warn"))
    rows += [
        _row("waiting", f"{count(number)} in {text(name, 40)}") for name, number in list(snapshot.queues.items())[:4]
    ]
    return {"title": "Camera", "head": [], "rows": rows, "note": ""}


def _outputs(snapshot: Snapshot) -> dict[str, Any]:
    rows = [
        _row(
            text(sink.name, 80),
            count(sink.written),
            count(sink.dropped),
            count(sink.faults),
            level="ok" if sink.healthy else "bad",
        )
        for sink in snapshot.sinks[:_MOST_ROWS]
    ]
    head = ["output", "written", "dropped", "faults"]
    return {"title": "Outputs", "head": head, "rows": rows, "note": "" if rows else "none"}


def _line(snapshot: Snapshot) -> dict[str, Any]:
    rows = [
        _row(
            text(one.name, 40),
            "connected" if one.connected else "away",
            count(one.sent),
            count(one.waiting),
            count(one.lost),
            level="ok" if one.connected else "bad",
        )
        for one in snapshot.line[:_MOST_ROWS]
    ]
    note = f"{count(snapshot.pending)} parts pending, {count(snapshot.late)} late" if snapshot.triggered else ""
    head = ["signal", "state", "sent", "waiting", "lost"] if rows else []
    return {"title": "Line", "head": head, "rows": rows, "note": note}


def _model(snapshot: Snapshot, about: About) -> dict[str, Any]:
    version = "" if about.version is None else f", version {about.version}"
    rows = [
        _row("model", text(about.model_id) + version) if about.model_id else None,
        _row("bundle", text(snapshot.bundle_digest[:12])) if snapshot.bundle_digest else None,
        _row("variant", text(snapshot.variant)),
        _row("backend", text(snapshot.backend)),
        _row("recipe", text(snapshot.recipe)) if snapshot.recipe else None,
        _row("running for", duration(snapshot.now - snapshot.started)),
    ]
    return {"title": "Model", "head": [], "rows": [row for row in rows if row is not None], "note": ""}


def _row(*cells: str, level: str = "") -> Row:
    return {"cells": list(cells), "level": level}


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"

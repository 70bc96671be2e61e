"""Judges an archived session again and says what differs, bit for bit.

Knows what may be compared and what may not. Does not know how the archive is written, nor how a frame is judged.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from diffad_runtime.archive.reading import read_frame, records_of, sessions_of
from diffad_runtime.archive.record import Record, RunLengths
from diffad_runtime.errors import DataError, ImageError, InputError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.rle import decode
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sinks.jsonl import plain

COMPARED = (
    "verdict",
    "score",
    "map_sha256",
    "mask",
    "defects",
    "regions",
    "image_threshold",
    "pixel_threshold",
)
"""Fields of a record that must come out the same."""

_MOST_LISTED = 1000  # differences and files named one by one; all are counted


class Judge(Protocol):
    """What replay needs of an Inspector."""

    rules: DecisionRules

    @property
    def bundle_digest(self) -> str:
        """Of the bundle that judges."""

    def judge(self, frame: Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
        """As Inspector.judge."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One frame that was judged otherwise.

    Attributes:
        session, file, frame_id, part_id: which.
        fields: {"score": [recorded, now]} for each of COMPARED that differs; of "mask" the number of white pixels.
    """

    session: str
    file: str
    frame_id: int
    part_id: str
    fields: dict[str, list[Any]]


@dataclass(slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        sessions: names.
        records: lines read.
        compared, identical: frames judged again, and those of them that came out the same to the last bit.
        counts: how often each field differed; "missing" and "corrupt", how many frames and lines could not be used.
        differences: the first 1000.
        errors: recorded as ERROR: there was no judgement to compare with.
        removed: frames that the archive's limits took, oldest first; no fault.
        missing: names of frames that are not there though older ones are, the first 1000.
        corrupt: what is wrong with pictures and lines that cannot be used, the first 1000.
        other: {"variant": [recorded, now]} for each of "bundle_digest", "variant", "backend" that differs; only with
            `allow_other`.
    """

    sessions: list[str] = field(default_factory=list)
    records: int = 0
    compared: int = 0
    identical: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    errors: int = 0
    removed: int = 0
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    other: dict[str, list[str]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether something was compared, all of it came out the same, and nothing was unreadable."""
        return self.compared > 0 and self.identical == self.compared and not (self.missing or self.corrupt)

    def to_json(self) -> dict[str, Any]:
        """Plain values, `same` among them."""
        return {"same": self.same, **asdict(self)}


def replay(
    archive: str | Path,
    inspector: Judge,
    *,
    allow_other: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Judge every archived frame again and compare it with what was recorded, to the last bit.

    Where a frame was judged without a recipe, the recorded thresholds are put in force for it, so that a run whose
    thresholds were overridden is repeated; the inspector's own are restored afterwards. A recipe is asked for by its
    name. One thread at a time may use the inspector meanwhile.

    Args:
        archive: the archive's folder, or one session in it.
        inspector: with the bundle, variant and backend that judged then.
        allow_other: where it is another, compare all the same and report in `other` what it is.
        on_frame: called with the number of lines done.

    Raises:
        DataError: no archive there.
        InputError: another bundle, variant or backend judged then, and `allow_other` is False.
    """
    report = ReplayReport()
    counts: Counter[str] = Counter()
    own = inspector.rules
    try:
        for session in sessions_of(archive):
            report.sessions.append(session.name)
            for record, frame in _frames(session, report, counts):
                _check(record.bundle_digest, inspector.bundle_digest, "bundle_digest", report, allow_other=allow_other)
                recorded = own.with_thresholds(pixel=record.pixel_threshold, image=record.image_threshold)
                inspector.rules = own if record.recipe else recorded
                result = inspector.judge(frame, record.part_id, record.recipe or None)
                for name in ("variant", "backend"):
                    _check(getattr(record, name), getattr(result, name), name, report, allow_other=allow_other)
                fields = _differing(record, frame, result)
                counts.update(fields.keys())
                if fields and len(report.differences) < _MOST_LISTED:
                    report.differences.append(
                        Difference(session.name, record.file or "", record.frame_id, record.part_id, fields)
                    )
                report.compared += 1
                report.identical += not fields
                if on_frame is not None:
                    on_frame(report.records)
    finally:
        inspector.rules = own
    report.counts = dict(counts)
    return report


def _frames(session: Path, report: ReplayReport, counts: Counter[str]) -> Iterator[tuple[Record, Frame]]:
    """The frames of a session that can be judged again; the others are noted."""
    gone = 0  # not there, and no older one is; -1 once one was
    for record in records_of(session):
        if record is None:
            continue
        report.records += 1
        if isinstance(record, DataError):
            _note(report.corrupt, record.what, "corrupt", counts)
            continue
        if record.verdict is Verdict.ERROR or record.file is None:
            report.errors += 1
            continue
        if math.isnan(record.pixel_threshold) or math.isnan(record.image_threshold):
            _note(report.corrupt, f"{session.name}: a threshold of line {report.records} is NaN", "corrupt", counts)
            continue
        try:
            image = read_frame(session, record)
        except ImageError as error:
            _note(report.corrupt, error.what, "corrupt", counts)
            continue
        if image is None and gone >= 0:
            gone += 1
        elif image is None:
            _note(report.missing, f"{session.name}/{record.file}", "missing", counts)
        else:
            report.removed, gone = report.removed + max(gone, 0), -1
            yield record, Frame(image, record.frame_id, 0.0, record.t_capture, name=record.name)
    if gone > 0:  # a session whose pictures were all taken goes with the last of them: that was somebody else
        _note(report.missing, f"{session.name}: all pictures, {gone}", "missing", counts, gone)


def _note(listed: list[str], what: str, kind: str, counts: Counter[str], times: int = 1) -> None:
    counts[kind] += times
    if len(listed) < _MOST_LISTED:
        listed.append(what)


def _check(recorded: str, now: str, name: str, report: ReplayReport, *, allow_other: bool) -> None:
    if recorded == now:
        return
    if not allow_other:
        raise InputError(
            f"the archive was judged by {name.replace('_', ' ')} {recorded[:16]!r}, this is {now[:16]!r}: its maps are "
            f"not expected to be the same",
            mend="Open the bundle, variant and backend that judged, or compare all the same with --allow-other",
        )
    report.other.setdefault(name, [recorded, now])


def _differing(record: Record, frame: Frame, result: Result) -> dict[str, list[Any]]:
    again = Record.of(record.seq, frame, result, record.file, record.file_sha256)
    if again.verdict is Verdict.ERROR:
        return {"verdict": [record.verdict.value, f"ERROR: {result.error}"]}
    shape = (frame.image.shape[0], frame.image.shape[1])
    return {
        name: [_shown(getattr(record, name), shape), _shown(getattr(again, name), shape)]
        for name in COMPARED
        if getattr(record, name) != getattr(again, name)
    }


def _shown(value: Any, shape: tuple[int, int]) -> Any:
    if not isinstance(value, RunLengths):
        return plain(value)
    if value.size != shape:  # of a frame that this is not: never unfolded, as a line can claim any size
        return f"a mask of {value.size[0]} x {value.size[1]} pixels"[:80]
    # Where it differs is in the archive; how much, in pixels, says more than runs.
    try:
        return int(np.count_nonzero(decode(value.model_dump())))
    except InputError as error:
        return error.what

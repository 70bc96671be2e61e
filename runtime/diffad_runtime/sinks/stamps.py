"""Names of files and folders that sort by time, and are safe whatever a part is called.

Knows characters and lengths. Does not know where files go.
"""

import hashlib
import re
from datetime import datetime, timezone

STAMP = r"\d{8}T\d{6}Z"  # 20261127T101500Z

FAR_S = 86400.0
"""Seconds in the future from which on a name is taken for that of a wrong clock."""

_LONGEST_PART = 48
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def stamp(when: datetime) -> str:
    """To the second, UTC: 20261127T101500Z."""
    return when.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def moment(when: datetime) -> str:
    """To the microsecond, UTC: 20261127T101500.250000Z."""
    return when.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")


def next_stamp(now: datetime, last: tuple[str, str]) -> tuple[str, str]:
    """A name that sorts after the last one, even in the same second or when the clock was set back.

    Args:
        now: the time to name by.
        last: (stamp, number) of the newest name there is; ("", "") for none. Numbers are "", "001", "002" and so on.
    """
    if (now_stamp := stamp(now)) > last[0]:
        return now_stamp, ""
    return last[0], f"{int(last[1] or 0) + 1:03d}"


def stamped(stem: str, name: tuple[str, str], suffix: str) -> str:
    """results, (20261127T101500Z, 001), .jsonl: results-20261127T101500Z-001.jsonl."""
    return f"{stem}-{'-'.join(filter(None, name))}{suffix}"


def stamped_pattern(stem: str, suffix: str) -> re.Pattern[str]:
    """What `stamped` makes; its groups are the name."""
    return re.compile(rf"{re.escape(stem)}-({STAMP})(?:-(\d{{3,}}))?{re.escape(suffix)}")


def safe_part(part_id: str) -> str:
    """A part's id as a piece of a file name: letters, digits and . _ - of ASCII, 48 at most, no dot in front.

    A part id comes from a PLC or a barcode and may be anything. Where something had to be changed, eight digits of the
    id's SHA-256 follow, so that "a/b" and "a_b" stay apart.
    """
    safe = _UNSAFE.sub("_", part_id[:_LONGEST_PART]).lstrip(".")
    if safe == part_id:
        return safe
    digest = hashlib.sha256(part_id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{safe[: _LONGEST_PART - 9]}~{digest}"

"""Engines in the cache as a table.

Knows records of the engine cache. Reads no plan.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from diffad_edge.cli.output import facts, print_json, size, stdout, table
from diffad_runtime.enginecache.store import Kept


def show_kept(folder: Path, kept: Sequence[Kept], *, json: bool, more: Mapping[str, Any] | None = None) -> None:
    """One row an engine; or one JSON object, with whatever else belongs in it."""
    if json:
        print_json({"folder": str(folder), "engines": [_record(one) for one in kept], **(more or {})})
        return
    console = stdout()
    if not kept:
        console.print(f"No engines in {folder}: 'diffad-edge build MODEL.diffad' makes them, as does the first run.")
        return
    rows = [_row(one) for one in kept]
    console.print(table("Engines", ("engine", "model", "made by", "for", "size", "built", "last used"), rows, left=4))
    for one in kept:
        if one.fault:
            console.print(f"{one.path.name} will be built again: {one.fault}")
    console.print(facts([("folder", str(folder)), ("size", size(sum(one.size_bytes for one in kept)))]))


def _row(one: Kept) -> list[str]:
    if one.side is None:
        return [one.path.stem, "-", "-", "-", size(one.size_bytes), "-", _time(one.used)]
    key, about = one.side.key, one.side.about
    return [
        f"{about.graph}.{about.variant}",
        f"{about.model_id} v{about.model_version}",
        f"TensorRT {key.device.tensorrt}",
        key.device.text(),
        size(one.size_bytes),
        _time(datetime.fromisoformat(one.side.built).timestamp()),
        _time(one.used),
    ]


def _record(one: Kept) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "size_bytes": one.size_bytes,
        "last_used": datetime.fromtimestamp(one.used, timezone.utc).isoformat(timespec="seconds"),
        "fault": one.fault,
        **({} if one.side is None else one.side.model_dump(mode="json")),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")

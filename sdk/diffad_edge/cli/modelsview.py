"""Keys, signatures and generations as a person reads them, and as JSON.

Knows the records of trust/ and models/. Does not act on any.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffad_edge.cli.output import facts, note, print_json, size, stdout, table
from diffad_runtime.models import Changed, Installed, ModelsStatus

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def show(rows: Sequence[tuple[str, str]], record: "DataclassInstance", *, json: bool) -> None:
    """Facts, or the record as one JSON object."""
    if json:
        print_json(_plain(asdict(record)))
    else:
        stdout().print(facts(rows))


def show_installed(done: Installed, *, json: bool) -> None:
    """A generation that is on trial now."""
    for variant, backend, reason in done.test.refused:
        note(f"warning: variant {variant!r} on {backend}: {reason}")
    tested = f"{done.test.frames} golden frames judged as torch judged them" if done.test.frames else "no golden frames"
    before = "nothing yet: it is committed by its trial, or by hand" if done.current is None else str(done.current)
    rows = [
        ("on trial", f"generation {done.generation}: {done.model_id} version {done.version}"),
        ("signature", done.trusted.text()),
        ("tested", f"{tested}; {done.test.backend}, variant {done.test.variant}, {done.test.seconds:.1f} s"),
        ("in force", before),
    ]
    show(rows, done, json=json)


def show_changed(done: Changed, *, json: bool) -> None:
    """What is in force after a commit or a rollback."""
    rows = [
        (done.what, f"generation {done.generation}: {done.model_id} version {done.version}"),
        ("in force", "nothing" if done.current is None else f"generation {done.current}"),
        ("to go back to", "nothing" if done.previous is None else f"generation {done.previous}"),
    ]
    show(rows, done, json=json)


def show_models(status: ModelsStatus) -> None:
    """A folder of models."""
    console = stdout()
    rows = [
        [
            one.role,
            str(one.number),
            f"{one.model_id} v{one.version}",
            size(one.size_bytes),
            _minute(one.installed),
            _minute(one.committed),
            "damaged" if one.fault else "whole",
        ]
        for one in status.generations
    ]
    columns = ("", "no.", "model", "size", "installed", "committed", "file")
    console.print(table("Models", columns, rows, left=3))
    lines = [("folder", str(status.folder))]
    lines += [(f"signed, {one.role}", one.key_id) for one in status.generations if one.key_id]
    lines += [(f"damaged, {one.role}", one.fault) for one in status.generations if one.fault]
    lines += [("lowest version", f"{name}: {floor}") for name, floor in status.floors.items()]
    if status.starts:
        lines.append(("starts of the trial", str(status.starts)))
    lines += [("at fault", fault) for fault in status.faults]
    lines += [
        ("" if number else "what happened", f"{time}  {text}") for number, (time, _, text) in enumerate(_last(status))
    ]
    console.print(facts(lines))


def _minute(time: str) -> str:
    """UTC, as in "2026-11-27 08:24"."""
    return time[:16].replace("T", " ") or "-"


def _last(status: ModelsStatus) -> Sequence[tuple[str, str, str]]:
    return status.events[-8:]


def _plain(value: Any) -> Any:
    """Paths as text."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value

"""OUT of a job: which images are done, what a killed job left behind, and one table in the end.

Knows files and rows. Does not know Ray, nor how an image is judged.

    OUT/results.parquet           one row an image (rows.py), in the listing's order
    OUT/masks/, OUT/raw/          as `diffad-edge score` writes them
    OUT/.scoring/                 while a job runs, and after one that was killed:
        rows-000001.parquet       rows that are not in the table yet
        token                     tells workers that their OUT is this one
        model.diffad              the bundle, as all workers read it
        attempts/                 see attempts.py
    OUT/.scoring.lock             one job at a time

A file of an image is there before its row is, and a row that is no longer true goes before the file does. So whenever a
job dies, each row has its files, and they belong together.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from typing_extensions import Self

from diffad_runtime.atomic import replacing
from diffad_runtime.bundle import Bundle
from diffad_runtime.bundle.container import pack
from diffad_runtime.errors import InputError
from diffad_runtime.scale.listing import Item
from diffad_runtime.scale.packages import load_arrow
from diffad_runtime.scale.rows import schema
from diffad_runtime.sinks.locking import hold

TABLE: Final = "results.parquet"
WORK: Final = ".scoring"
TOKEN: Final = "token"
BUNDLE: Final = "model.diffad"
ATTEMPTS: Final = "attempts"
MASKS, RAW = "masks", "raw"

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.tmp(\.npy|\.parquet)?")
_FACTS = ("name", "file_bytes", "file_mtime_ns", "bundle_digest", "variant", "backend", "mask_path")
_FLUSH_ROWS, _FLUSH_S = 5000, 5.0


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges in this job: rows of any other are not kept."""

    digest: str
    variant: str
    backend: str


class OutFolder:
    """Holds OUT for one job. A context manager; nothing is lost by leaving it in any way.

    Args:
        out: made where missing.
        clock: seconds, monotonic.

    Attributes:
        path: OUT, absolute.
        token: for workers.

    Raises:
        InputError: it cannot be written to, another job runs on it, or `results.parquet` is something else.
    """

    def __init__(self, out: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(os.path.realpath(out))
        self._work = self.path / WORK
        self._clock = clock
        self._lock: int | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = hold(self.path / f"{WORK}.lock")
            self._killed = self._work.exists()
            (self._work / ATTEMPTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.close()
            raise _refused(self.path, error) from error
        self.token = uuid.uuid4().hex
        self._rows: list[Any] = []
        self._waiting: list[Any] = []
        self._flushed = clock()
        self._parts = 0

    def announce(self, bundle: Bundle) -> None:
        """Put what workers need where they find it: the bundle, and a sign that this is the job's folder.

        The bundle is written from what was verified, so whatever becomes of its file, all workers read the same.

        Raises:
            InputError: the disk refused.
        """
        with replacing(self._work / BUNDLE) as temporary, temporary.open("wb") as file:
            for chunk in pack(bundle.whole()):
                file.write(chunk)
        with replacing(self._work / TOKEN) as temporary:
            temporary.write_text(self.token, encoding="ascii")

    def begin(self, items: Sequence[Item], judge: Judge, *, raw: bool) -> list[Item]:
        """Take up what is there, and say what is left to do.

        A row is kept where its image is still there, of the same size and time, was judged OK or NG by the same bundle,
        variant and backend, and its files are there. All others are gone from the table when this returns, so that a
        job may write their files.

        Args:
            items: of the folder.
            judge: of this job.
            raw: maps are wanted, too.

        Raises:
            InputError: the disk refused, or a table that is not ours.
        """
        if self._killed:
            self.sweep()
        pa = load_arrow()
        found = [self._read(path) for path in self._tables()]
        table = pa.concat_tables([schema().empty_table(), *found])
        by_name = {item.name: item for item in items if not item.refused}
        kept = {
            item.name: (place, item.index)
            for place, facts in enumerate(zip(*(table.column(name).to_pylist() for name in _FACTS), strict=True))
            if (item := by_name.get(facts[0])) is not None and self._holds(facts, item, judge, raw=raw)
        }
        places, order = [place for place, _ in kept.values()], [index for _, index in kept.values()]
        table = table.take(pa.array(places, pa.int64()))
        self._rows = [table.set_column(0, "frame_id", pa.array(order, pa.int64()))]
        try:
            for path in (self._work / ATTEMPTS).iterdir():
                path.unlink()
            if found:
                self._write(self.path / TABLE, self._rows[0].sort_by("frame_id"))
            self._drop_parts()
        except OSError as error:
            raise _refused(self.path, error) from error
        return [item for item in items if item.name not in kept or item.refused]

    def add(self, rows: Any) -> None:
        """Take rows (pyarrow.Table) whose files are written; on the disk within seconds.

        Raises:
            InputError: the disk refused.
        """
        self._waiting.append(rows)
        many = sum(table.num_rows for table in self._waiting) >= _FLUSH_ROWS
        if many or self._clock() - self._flushed >= _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Put what was added on the disk.

        Raises:
            InputError: the disk refused.
        """
        if self._waiting:
            table = load_arrow().concat_tables(self._waiting)
            self._parts += 1
            self._write(self._work / f"rows-{self._parts:06d}.parquet", table)
            self._rows.append(table)
            self._waiting = []
        self._flushed = self._clock()

    def finish(self) -> Any:
        """Make one table of all rows, kept and added.

        Returns:
            pyarrow.Table, sorted by frame_id.

        Raises:
            InputError: the disk refused.
        """
        self.flush()
        table = load_arrow().concat_tables(self._rows).sort_by("frame_id")
        self._write(self.path / TABLE, table)
        self._drop_parts()
        return table

    def clear(self) -> None:
        """The job is done, whole: nothing is left to take up."""
        shutil.rmtree(self._work, ignore_errors=True)

    def sweep(self) -> None:
        """Remove temporary files that a killed writer left. Nobody may write meanwhile."""
        for folder in (self.path / MASKS, self.path / RAW, self._work):
            for path in folder.rglob(".*"):
                if _LEFTOVER.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)
        for path in self.path.glob(f".{Path(TABLE).stem}.*"):
            if _LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of OUT; twice is harmless."""
        if self._lock is not None:
            opened, self._lock = self._lock, None
            os.close(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _holds(self, facts: tuple[Any, ...], item: Item, judge: Judge, *, raw: bool) -> bool:
        return (
            facts[1:] == (item.file_bytes, item.file_mtime_ns, judge.digest, judge.variant, judge.backend, facts[-1])
            and facts[-1] is not None  # of an ERROR there is no mask: it is tried again
            and (self.path / facts[-1]).is_file()
            and not (raw and not (self.path / RAW / f"{item.name}.npy").is_file())
        )

    def _drop_parts(self) -> None:
        for path in self._work.glob("rows-*.parquet"):
            path.unlink(missing_ok=True)

    def _tables(self) -> list[Path]:
        table = self.path / TABLE
        return [*([table] if table.exists() else []), *sorted(self._work.glob("rows-*.parquet"))]

    def _read(self, path: Path) -> Any:
        pa = load_arrow()
        try:
            found = pa.parquet.read_table(path)
            return found.select(schema().names).cast(schema())
        except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are one of these
            raise InputError(
                f"{path} is not a table of results: {' '.join(str(error).split())[:200]}",
                mend="Move it away, or name another folder with --out",
            ) from error

    def _write(self, path: Path, table: Any) -> None:
        with replacing(path) as temporary:
            load_arrow().parquet.write_table(table, temporary, compression="zstd")


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the folder {path} cannot be written to: {error.strerror or error}", mend="Check it, and its free space"
    )

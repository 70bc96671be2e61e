"""Results on the disk, in order, until they are no longer needed: one SQLite file.

Knows rows and transactions. Does not know threads, brokers, nor what a result says. One thread uses it at a time.

A crash of this process loses nothing that was committed. After a power cut the file is whole, and lacks what came after
the last `sync` and was not yet written back by the kernel.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from diffad_runtime.line.mqtt.ledger import Entry

NAME: Final = "results.sqlite3"
_VERSION: Final = 1
_SIDES = ("-wal", "-shm", "-journal")
_SCHEMA = (
    "CREATE TABLE waiting (seq INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO facts VALUES ('last', 0)",
    f"PRAGMA user_version = {_VERSION}",
)


class SpoolDamagedError(Exception):
    """The file is not what was written; put it aside. A private matter of the spool, which tells it."""


class SpoolFile:
    """Opens the file of a folder, or makes it.

    Args:
        folder: must be there.

    Attributes:
        count, size: rows, and bytes of their payloads.
        last: largest number that was ever stored.

    Raises:
        SpoolDamagedError: there is a file, and it is none of ours or broken.
        sqlite3.Error: the disk refused.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.count = self.size = self.last = 0
        # Autocommit: transactions are said explicitly. The spool's thread is not the one that opens.
        self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            with _damage():
                self._begin()
        except BaseException:
            self._base.close()
            raise

    def change(self, add: Sequence[Entry], remove: Iterable[int], *, most: int, most_bytes: int) -> list[int]:
        """Store and remove in one transaction, then give up the oldest rows beyond the limits.

        Args:
            add: with numbers above all before.
            remove: numbers; those that are not there are passed over.
            most, most_bytes: rows and bytes of payload that may stay.

        Returns:
            The numbers of those given up.

        Raises:
            SpoolDamagedError, sqlite3.Error: nothing was changed.
        """
        before = self.count, self.size, self.last
        try:
            with _damage(), self._transaction():
                for entry in add:
                    self._base.execute(
                        "INSERT INTO waiting VALUES (?, ?, ?)", (entry.seq, zlib.crc32(entry.payload), entry.payload)
                    )
                    self.count, self.size, self.last = self.count + 1, self.size + len(entry.payload), entry.seq
                if add:
                    self._base.execute("UPDATE facts SET value = ? WHERE name = 'last'", (self.last,))
                for seq in remove:
                    self._remove(seq)
                return self._trim(most, most_bytes)
        except BaseException:
            self.count, self.size, self.last = before
            raise

    def after(self, seq: int, limit: int) -> tuple[list[Entry], list[int]]:
        """Rows above a number, in order; and the numbers of those whose bytes are no longer what they were.

        Raises:
            SpoolDamagedError, sqlite3.Error: as they say.
        """
        with _damage():
            rows = self._base.execute(
                "SELECT seq, crc, payload FROM waiting WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            ).fetchall()
        good = [Entry(seq, payload) for seq, crc, payload in rows if _intact(crc, payload)]
        return good, [seq for seq, crc, payload in rows if not _intact(crc, payload)]

    def sync(self) -> None:
        """Have all of it on the disk, past any power cut. May take long.

        Raises:
            SpoolDamagedError, sqlite3.Error: as they say.
        """
        with _damage():
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let go of the file. Never raises."""
        with suppress(sqlite3.Error):
            self._base.close()

    def _begin(self) -> None:
        # One writer: no shared memory file is needed, and no second process can mix its numbers in.
        self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._base.execute("PRAGMA journal_mode = WAL").fetchall()
        self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.execute(f"PRAGMA journal_size_limit = {4 << 20}").fetchall()
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            with self._transaction():
                for statement in _SCHEMA:
                    self._base.execute(statement)
        elif version != _VERSION:
            raise SpoolDamagedError(f"it is of version {version}, expected {_VERSION}")
        elif (said := self._base.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise SpoolDamagedError(str(said))
        self.count, size, newest = self._base.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(max(seq), 0) FROM waiting"
        ).fetchone()
        self.size = size
        self.last = max(newest, self._base.execute("SELECT value FROM facts WHERE name = 'last'").fetchone()[0])

    def _remove(self, seq: int) -> None:
        row = self._base.execute("SELECT length(payload) FROM waiting WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            self._base.execute("DELETE FROM waiting WHERE seq = ?", (seq,))
            self.count, self.size = self.count - 1, self.size - row[0]

    def _trim(self, most: int, most_bytes: int) -> list[int]:
        gone: list[int] = []
        while self.count > 1 and (self.count > most or self.size > most_bytes):
            gone.append(self._base.execute("SELECT min(seq) FROM waiting").fetchone()[0])
            self._remove(gone[-1])
        return gone

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk rolls back by itself
                self._base.execute("ROLLBACK")
            raise


def put_aside(folder: Path) -> Path:
    """Move a damaged file out of the way, over the one before it; where to.

    Raises:
        OSError: the disk refused.
    """
    aside = folder / f"{NAME}.damaged"
    for side in ("", *_SIDES):  # with its log, which would otherwise be played back into the new file
        before, after = folder / f"{NAME}{side}", folder / f"{aside.name}{side}"
        if before.exists():
            before.replace(after)
        else:
            after.unlink(missing_ok=True)
    return aside


@contextmanager
def _damage() -> Iterator[None]:
    """Tell what is broken from what only fails now: a full disk, a read-only one, an error of its hardware."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # "no such table", "no such column": somebody else's file.
        if "no such" in str(error) or "has no" in str(error):
            raise SpoolDamagedError(str(error)) from None
        raise
    except (sqlite3.DatabaseError, TypeError, UnicodeDecodeError) as error:  # malformed, not a database, odd types
        raise SpoolDamagedError(str(error)) from None


def _intact(crc: object, payload: object) -> bool:
    return isinstance(payload, bytes) and zlib.crc32(payload) == crc

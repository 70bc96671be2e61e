"""Which results wait, in which order, and where each is: in memory, on the disk, on its way, or done.

Pure bookkeeping: no thread, no disk, no clock. spool.py puts both around it and calls it under its lock.

    put -> unstored -> (stored) on the disk -> done -> removed from the disk
        -> ready -> taken -> done               at the same time, or, where there are too many, read back later
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

AT_HAND: Final = 256
"""Results in memory that are next to be sent."""
_HEADROOM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One result: its number and its bytes."""

    seq: int
    payload: bytes


def first_number(last: int, wall_s: float) -> int:
    """The first number of a run: above all that were ever given, so that whoever counts sees them grow.

    Microseconds since 1970, which no station outruns by working; and where the clock is wrong, well above the last that
    is known: a power cut may have taken some that were sent and not yet stored. Exact in every reader's JSON, which is
    2**53, until the year 2255.

    Args:
        last: the largest number stored, 0 where none is known.
        wall_s: seconds since 1970.
    """
    return max(last + _HEADROOM, int(max(0.0, wall_s) * 1e6))


class Ledger:
    """The books of a bounded queue.

    Args:
        first: number of the first result.
        most, most_bytes: results that are not on the disk, and bytes of them. The oldest go first, the newest stays.
        on_disk: results that are there already, with smaller numbers.
        near: results that are ready to be sent; more is brought to hand when half of them are gone.

    Attributes:
        waiting: results that are neither done nor lost.
        lost: given up. One that was on its way may have arrived nevertheless.
    """

    def __init__(self, first: int, *, most: int, most_bytes: int, on_disk: int = 0, near: int = AT_HAND) -> None:
        self._next, self._most, self._most_bytes, self._near = first, most, most_bytes, near
        self.waiting, self.lost = on_disk, 0
        self._ready: deque[Entry] = deque()
        self._taken: OrderedDict[int, Entry] = OrderedDict()
        self._unstored: OrderedDict[int, Entry] = OrderedDict()
        self._bytes = 0  # of the unstored
        self._done: list[int] = []  # and perhaps still on the disk
        self._at_hand = 0  # all that wait up to this number are ready or taken
        self._behind = on_disk > 0  # some wait above it

    def put(self, make: Callable[[int], bytes]) -> int:
        """Take a result, whose bytes `make` gives from its number; the number."""
        entry = Entry(self._next, make(self._next))
        self._next += 1
        self._unstored[entry.seq] = entry
        self._bytes += len(entry.payload)
        self.waiting += 1
        if not self._behind and len(self._ready) < self._near:
            self._ready.append(entry)
            self._at_hand = entry.seq
        else:
            self._behind = True
        self._bound()
        return entry.seq

    def take(self) -> Entry | None:
        """The next to send; None where none is at hand."""
        if not self._ready:
            return None
        entry = self._ready.popleft()
        self._taken[entry.seq] = entry
        return entry

    def done(self, seq: int, *, lost: bool = False) -> None:
        """What was taken needs no sending any more. One that was given up meanwhile is passed over."""
        if self._taken.pop(seq, None) is None:
            return
        self.waiting -= 1
        self.lost += lost
        entry = self._unstored.pop(seq, None)
        if entry is None:
            self._done.append(seq)
        else:  # perhaps being written this very moment: `stored` finds it missing
            self._bytes -= len(entry.payload)

    def rewind(self) -> None:
        """What was taken and is not done is taken again, in order."""
        self._ready.extendleft(reversed(self._taken.values()))
        self._taken.clear()

    @property
    def unstored(self) -> int:
        """Results that wait and are not on the disk."""
        return len(self._unstored)

    @property
    def owes(self) -> bool:
        """Whether the disk has something to store or to remove."""
        return bool(self._unstored or self._done)

    @property
    def wants(self) -> bool:
        """Whether more should be brought to hand, by `fetched`."""
        return self._behind and len(self._ready) <= self._near // 2

    @property
    def at_hand(self) -> int:
        """Read from the disk what is above this number."""
        return self._at_hand

    def to_store(self, limit: int) -> list[Entry]:
        """The oldest that are not on the disk, in order."""
        return [entry for entry, _ in zip(self._unstored.values(), range(limit), strict=False)]

    def to_remove(self) -> list[int]:
        """What the disk need not keep; given out once, `give_back` where that failed."""
        done, self._done = self._done, []
        return done

    def give_back(self, done: Iterable[int]) -> None:
        """The disk could not remove these."""
        self._done.extend(done)

    def stored(self, entries: Sequence[Entry], trimmed: Iterable[int] = ()) -> None:
        """These are on the disk now; those `trimmed` are no longer, as there were too many."""
        for entry in entries:
            if self._unstored.pop(entry.seq, None) is None:  # done or given up while it was being written
                self._done.append(entry.seq)
            else:
                self._bytes -= len(entry.payload)
        self._lose(set(trimmed).difference(self._done))

    def fetched(self, rows: Sequence[Entry], bad: Sequence[int], limit: int) -> None:
        """What the disk has above `at_hand`: at most `limit` rows, the `bad` among them damaged."""
        over = set(self._done)  # given up while they were being written, and counted
        self._lose(set(bad) - over)
        self._done.extend(bad)
        more = [entry for entry in rows if entry.seq not in over]
        if len(rows) + len(bad) < limit:  # no more there: what follows has not been stored
            above = max([self._at_hand, *(entry.seq for entry in rows), *bad])
            rest = [entry for entry in self._unstored.values() if entry.seq > above]
            more += rest[: self._near]
            self._behind = len(rest) > self._near
        self._ready.extend(more)
        self._at_hand = max([self._at_hand, *(entry.seq for entry in (*rows, *more)), *bad])

    def disk_lost(self) -> int:
        """The disk has nothing any more; how many were lost with it. What is in memory has to be stored again."""
        kept = {**self._taken, **{entry.seq: entry for entry in self._ready}, **self._unstored}
        lost = self.waiting - len(kept)
        self.lost += lost
        self.waiting = len(kept)
        self._unstored = OrderedDict(sorted(kept.items()))
        self._bytes = sum(len(entry.payload) for entry in kept.values())
        self._done = []
        self._bound()
        return lost

    def _bound(self) -> None:
        gone = set()
        while len(self._unstored) > 1 and (len(self._unstored) > self._most or self._bytes > self._most_bytes):
            seq, entry = self._unstored.popitem(last=False)
            self._bytes -= len(entry.payload)
            gone.add(seq)
        self._lose(gone)

    def _lose(self, gone: set[int]) -> None:
        if not gone:
            return
        self.lost += len(gone)
        self.waiting -= len(gone)
        self._ready = deque(entry for entry in self._ready if entry.seq not in gone)
        for seq in gone:
            self._taken.pop(seq, None)

"""The books against a slow model: in order, once each, and what is lost is counted."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from diffad_runtime.line.mqtt.ledger import AT_HAND, Entry, Ledger, first_number

LIMIT = 8


class Books(RuleBasedStateMachine):
    """Drives a Ledger as spool.py does, with a disk that is a dict, and counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(1, most=12, most_bytes=1000, near=4)
        self.put_all: list[int] = []
        self.done_all: set[int] = set()
        self.disk: dict[int, Entry] = {}
        self.taken: list[int] = []
        self.sent: list[int] = []  # since the last rewind
        self.writing: tuple[list[Entry], list[int]] | None = None

    @rule(size=st.integers(0, 30), count=st.integers(1, 6))
    def put(self, size: int, count: int) -> None:
        for _ in range(count):
            self.put_all.append(self.ledger.put(lambda seq: f"{seq}".encode().ljust(size)))

    @rule(count=st.integers(1, 6))
    def take(self, count: int) -> None:
        for _ in range(count):
            entry = self.ledger.take()
            if entry is not None:
                assert int(entry.payload) == entry.seq
                assert not self.sent or entry.seq > self.sent[-1], "out of order"
                self.sent.append(entry.seq)
                self.taken.append(entry.seq)

    @precondition(lambda self: self.taken)
    @rule(which=st.integers(0, 100), lost=st.booleans())
    def done(self, which: int, lost: bool) -> None:
        seq = self.taken.pop(which % len(self.taken))
        before = self.ledger.waiting
        self.ledger.done(seq, lost=lost)
        if self.ledger.waiting < before:
            self.done_all.add(seq)

    @rule()
    def rewind(self) -> None:
        self.ledger.rewind()
        self.taken.clear()
        self.sent.clear()

    @precondition(lambda self: self.writing is None)
    @rule()
    def begin_to_write(self) -> None:
        self.writing = self.ledger.to_store(LIMIT), self.ledger.to_remove()

    @precondition(lambda self: self.writing is not None)
    @rule(refused=st.booleans(), most=st.integers(1, 20))
    def end_writing(self, refused: bool, most: int) -> None:
        assert self.writing is not None
        (add, remove), self.writing = self.writing, None
        if refused:
            self.ledger.give_back(remove)
            return
        for entry in add:
            assert entry.seq > max(self.disk, default=0), "the disk got an older one after a newer one"
            self.disk[entry.seq] = entry
        for seq in remove:
            self.disk.pop(seq, None)
        trimmed = sorted(self.disk)[: max(0, len(self.disk) - most)]
        for seq in trimmed:
            del self.disk[seq]
        self.ledger.stored(add, trimmed)

    @precondition(lambda self: self.ledger.wants and self.writing is None)
    @rule(damaged=st.booleans())
    def fetch(self, damaged: bool) -> None:
        above = [self.disk[seq] for seq in sorted(self.disk) if seq > self.ledger.at_hand][:LIMIT]
        bad = [above.pop().seq] if damaged and above else []
        self.ledger.fetched(above, bad, LIMIT)

    @precondition(lambda self: self.writing is None)
    @rule()
    def lose_the_disk(self) -> None:
        self.disk.clear()
        self.ledger.disk_lost()

    @invariant()
    def it_adds_up(self) -> None:
        ledger = self.ledger
        assert ledger.waiting >= 0
        lost_while_taken = ledger.lost - (len(self.put_all) - ledger.waiting - len(self.done_all))
        assert 0 <= lost_while_taken <= len(self.done_all)  # done(lost=True) is in both
        assert ledger.unstored <= 12

    def teardown(self) -> None:
        """Everything that waits comes out, in order, once; and then the disk has that and nothing else."""
        if self.writing is not None:
            self.end_writing(refused=True, most=1)
        while self.ledger.owes:
            self.begin_to_write()
            self.end_writing(refused=False, most=10_000)
        self.ledger.rewind()
        out: list[int] = []
        while True:
            if self.ledger.wants:
                above = [self.disk[seq] for seq in sorted(self.disk) if seq > self.ledger.at_hand][:LIMIT]
                self.ledger.fetched(above, [], LIMIT)
            entry = self.ledger.take()
            if entry is None:
                break
            out.append(entry.seq)
        assert out == sorted(set(out))
        assert len(out) == self.ledger.waiting
        assert not self.done_all & set(out)
        assert set(self.disk) == set(out)


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase


def test_done_while_it_was_being_written_it_is_removed_again() -> None:
    ledger = Ledger(1, most=10, most_bytes=1000)
    seq = ledger.put(lambda _: b"x")
    assert ledger.take() is not None
    writing = ledger.to_store(LIMIT)
    ledger.done(seq)
    ledger.stored(writing)
    assert (ledger.to_remove(), ledger.waiting, ledger.owes) == ([seq], 0, False)


def test_given_up_while_it_was_being_written_it_is_not_sent() -> None:
    ledger = Ledger(1, most=2, most_bytes=1000, near=1)
    first = ledger.put(lambda _: b"x")
    second = ledger.put(lambda _: b"x")
    writing = ledger.to_store(LIMIT)
    newer = [ledger.put(lambda _: b"x") for _ in range(2)]  # no room in memory for the first two
    ledger.stored(writing)
    assert (ledger.waiting, ledger.lost) == (2, 2)
    ledger.fetched(writing, [], LIMIT)
    got = [entry.seq for entry in iter(ledger.take, None)]
    while ledger.wants:
        ledger.fetched([], [], LIMIT)
        got += [entry.seq for entry in iter(ledger.take, None)]
    assert got == newer
    assert sorted(ledger.to_remove()) == [first, second]


def test_the_newest_stays_however_large_it_is() -> None:
    ledger = Ledger(1, most=5, most_bytes=10)
    for _ in range(3):
        ledger.put(lambda _: b"x" * 100)
    assert (ledger.waiting, ledger.lost) == (1, 2)
    entry = ledger.take()
    assert entry is not None
    assert entry.seq == 3


def test_more_than_fits_at_hand_is_read_back() -> None:
    ledger = Ledger(1, most=10_000, most_bytes=1 << 30)
    for _ in range(AT_HAND + 10):
        ledger.put(lambda _: b"x")
    assert not ledger.wants  # not before half of what is at hand is gone
    got = []
    while (entry := ledger.take()) is not None:
        got.append(entry.seq)
        if ledger.wants:
            ledger.fetched([], [], AT_HAND)  # none of it is on the disk
    assert got == list(range(1, AT_HAND + 11))


def test_numbers_grow_past_a_wrong_clock_and_a_power_cut() -> None:
    assert first_number(0, 1.8e9) == 1_800_000_000_000_000
    known = 1_900_000_000_000_000
    assert first_number(known, 1.8e9) > known + 100_000  # some may have been sent and not stored
    assert first_number(0, -5.0) > 0
    assert first_number(0, 4.1e9) < 2**53  # exact in every reader's JSON for the next 70 years

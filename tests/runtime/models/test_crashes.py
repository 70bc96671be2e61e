"""Power cuts between any two file operations, and disks that refuse any one of them.

A recording disk notes every step of a life of installs, commits and rollbacks. For each moment of it the folder is
built as a power cut may leave it: what was synced is there; of the names that were made, moved or removed since, any
part may be, whatever their order; a file under write may be half there. Then a start must give a whole, verified model,
and the state must be that before the operation under way, or that after it.
"""

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import DiffadError, InputError
from diffad_runtime.models import status
from diffad_runtime.models.disk import Disk

Tree = dict[str, bytes | None]  # None: a folder
Step = tuple[str, str, Any]
_ALL_SUBSETS_UP_TO = 6


class Recorder(Disk):
    """Does it, and notes it down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[Step] = []

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        data = b"".join(chunks)
        path.write_bytes(data)
        path.chmod(0o644)
        self.steps.append(("write", self._name(path), data))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.steps.append(("rename", self._name(source), self._name(target)))

    def unlink(self, path: Path) -> None:
        if path.exists():
            super().unlink(path)
            self.steps.append(("unlink", self._name(path), None))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self.steps.append(("folder", self._name(path), None))

    def sync_folder(self, path: Path) -> None:
        self.steps.append(("sync", self._name(path), None))


@dataclass
class Platter:
    """What is on the disk for sure, and what was done since to which names, in order."""

    sure: Tree = field(default_factory=dict)
    pending: list[tuple[str, Tree, frozenset[str]]] = field(default_factory=list)  # folder, appears, goes
    names: Tree = field(default_factory=dict)  # as a running process sees it

    def take(self, step: Step) -> None:
        kind, name, more = step
        if kind == "sync":
            for folder, appears, goes in [one for one in self.pending if one[0] == name]:
                self.pending.remove((folder, appears, goes))
                _apply(self.sure, appears, goes)
            return
        appears: Tree = {}
        goes: set[str] = set()
        if kind == "write":
            appears[name] = more
        elif kind == "folder":
            if name in self.names:
                return
            appears[name] = None
        elif kind == "unlink":
            goes.add(name)
        else:
            appears[more] = self.names[name]
            goes.add(name)
        _apply(self.names, appears, frozenset(goes))
        self.pending.append((str(Path(name).parent), appears, frozenset(goes)))

    def after_a_cut(self, next_step: Step | None) -> Iterator[Tree]:
        """Trees that may be found."""
        numbers = range(len(self.pending))
        chosen: Iterable[Iterable[int]]
        if len(self.pending) <= _ALL_SUBSETS_UP_TO:
            chosen = itertools.chain.from_iterable(itertools.combinations(numbers, k) for k in range(len(numbers) + 1))
        else:
            chosen = [(), numbers, *([one] for one in numbers), *([n for n in numbers if n != one] for one in numbers)]
        for subset in chosen:
            tree = dict(self.sure)
            for number in subset:
                _apply(tree, self.pending[number][1], self.pending[number][2])
            yield tree
            if next_step is not None and next_step[0] == "write":
                yield {**tree, next_step[1]: next_step[2][: len(next_step[2]) // 2]}
                yield {**tree, next_step[1]: b""}


def _apply(tree: Tree, appears: Tree, goes: frozenset[str]) -> None:
    for name in goes:
        tree.pop(name, None)
    tree.update(appears)


def _build(tree: Tree, root: Path) -> None:
    for name, data in sorted(tree.items()):
        path = root / name
        if not path.parent.is_dir():
            continue  # its folder is not there, so neither is it
        if data is None:
            path.mkdir(mode=0o755)
        else:
            path.write_bytes(data)
            path.chmod(0o644)


LIFE: list[tuple[str, int | None]] = [
    ("install", 1),
    ("commit", None),
    ("install", 2),
    ("active", None),
    ("commit", None),
    ("install", 3),
    ("rollback", None),
    ("install", 4),
    ("commit", None),
    ("rollback", None),
    ("install", 4),
    ("commit", None),
]


def _do(device: Any, name: str, version: int | None) -> None:
    if name == "install":
        device.install(version)
    else:
        getattr(device, name)()


def _logical(folder: Path) -> dict[str, int]:
    return {one.role: one.version for one in status(folder, verify=False).generations}


def _floors(folder: Path) -> dict[str, int]:
    return status(folder, verify=False).floors


def _check(found: Any, before: dict[str, int], after: dict[str, int], floors: list[dict[str, int]]) -> None:
    """A start gives what is wanted; the state is one of both."""
    try:
        active = found.active()
    except DiffadError as error:
        # Only where nothing was there before.
        assert before == {}, error  # noqa: PT017
        if isinstance(error, InputError) and not (found.folder / "generations").is_dir():
            return
        active = None
    logical = found.versions  # everything whole, nothing left over
    assert logical in (before, after)
    if active is not None:
        assert active.version == logical.get("trial", logical.get("current"))
        assert active.trial == ("trial" in logical)
    assert _floors(found.folder) == floors[logical == after and logical != before]


def test_power_cuts(device: Any, tmp_path: Path) -> None:
    root = tmp_path / "device"
    root.mkdir()
    disk = Recorder(root)
    recorded = type(device)(root / "models", device.workshop, disk)
    platter = Platter()
    before: dict[str, int] = {}
    floors: dict[str, int] = {}
    seen: set[int] = set()
    number = 0
    for name, version in LIFE:
        disk.steps.clear()
        _do(recorded, name, version)
        after, new_floors = _logical(recorded.folder), _floors(recorded.folder)
        steps: list[Step | None] = [*disk.steps, None]
        for step in steps:
            for tree in platter.after_a_cut(step):
                # Once an operation is done, it is done for good.
                expected = (before if step is not None else after, after)
                mark = hash((frozenset(tree.items()), str(expected)))
                if mark in seen:
                    continue
                seen.add(mark)
                number += 1
                folder = tmp_path / f"cut-{number}"
                folder.mkdir()
                _build(tree, folder)
                found = type(device)(folder / "models", device.workshop)
                _check(found, *expected, [new_floors if step is None else floors, new_floors])
            if step is not None:
                platter.take(step)
        before, floors = after, new_floors
    assert number > 150


class Refusing(Disk):
    """Refuses the step of that number, and all later ones that need room where `full`."""

    def __init__(self, quick: Disk, at: int, *, full: bool) -> None:
        self._quick, self._at, self._full, self._done = quick, at, full, 0

    def _step(self, *, needs_room: bool = True) -> None:
        self._done += 1
        if self._done == self._at or (self._full and needs_room and self._done > self._at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def reached(self) -> bool:
        return self._done >= self._at

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        try:
            self._step()
        except OSError:
            path.write_bytes(b"half")
            raise
        self._quick.write(path, chunks)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._step(needs_room=False)
        super().unlink(path)

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def sync_folder(self, path: Path) -> None:
        assert path.is_dir()
        self._step(needs_room=False)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("had", "name", "version"), [((), "install", 1), ((1, 2), "install", 3), ((1, 2), "rollback", 0)]
)
def test_a_disk_that_refuses(
    device: Any, tmp_path: Path, had: tuple[int, ...], name: str, version: int, full: bool
) -> None:
    """Any step; what was asked for is done or is not, and the next start has a whole model."""
    for at in itertools.count(1):
        one = type(device)(tmp_path / f"{at}", device.workshop).has(*had)
        before, floors = ({}, {}) if not had else (one.versions, _floors(one.folder))
        one.disk = Refusing(device.disk, at, full=full)
        try:
            _do(one, name, version)
        except InputError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
        reached = one.disk.reached
        one.disk = device.disk
        if not reached:
            assert at > 5
            return
        after = {"install": {**before, "trial": version}, "rollback": {"current": 1}}[name]
        _check(one, before, after, [floors, floors])
        if (one.folder / "generations").is_dir() and one.versions == before and name == "install":
            one.install(version)  # nothing stands in the way of another try
            assert one.versions == after


@pytest.mark.parametrize("full", [False, True])
def test_a_disk_that_refuses_a_commit(device: Any, tmp_path: Path, full: bool) -> None:
    for at in itertools.count(1):
        one = type(device)(tmp_path / f"{at}", device.workshop).has(1, 2)
        one.install(3)
        before = one.versions
        one.disk = Refusing(device.disk, at, full=full)
        try:
            one.commit()
        except InputError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
        reached = one.disk.reached
        one.disk = device.disk
        if not reached:
            assert at > 5
            return
        _check(one, before, {"current": 3, "previous": 2}, [{"tiny": 1}, {"tiny": 2}])

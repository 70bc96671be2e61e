"""What a keeper removes, in which order, and what it never touches."""

import os
import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.sinks import Retention
from diffad_runtime.sinks.keeper import Keeper
from diffad_runtime.sinks.stamps import STAMP

FILES = re.compile(r"(\d{6})\.bin")
SHELVES = re.compile(rf"({STAMP})")
BLOCK = 4096


def _keeper(root: Path, retention: Retention, *, flat: bool = False, **options: object) -> Keeper:
    if flat:
        return Keeper(root, retention, FILES, **options)  # type: ignore[arg-type]
    shelved = {"shelves": SHELVES, "marker": "mark", "rest": ("lines",), "leftovers": re.compile(r"\.\d{6}\.tmp")}
    keeper = Keeper(root, retention, FILES, **{**shelved, **options})  # type: ignore[arg-type]
    assert keeper.counted.wait(5)
    return keeper


def _shelf(root: Path, name: str, sizes: dict[int, int] | None = None) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "mark").write_bytes(b"")
    for number, size in (sizes or {}).items():
        (folder / f"{number:06d}.bin").write_bytes(b"x" * size)
    return folder


def _bins(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.bin"))


def _bytes(root: Path) -> int:
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in root.rglob("*") if path.is_file())


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=40),
    limits=st.tuples(st.integers(6, 20), st.integers(2, 12)),
    flat=st.booleans(),
    restarts=st.sets(st.integers(0, 39), max_size=3),
    per_shelf=st.integers(1, 9),
)
def test_limits_hold_after_every_write_and_the_newest_stays(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    limits: tuple[int, int],
    flat: bool,
    restarts: set[int],
    per_shelf: int,
) -> None:
    """Against a list of blocks, from whose front one goes while the next does not fit."""
    root = tmp_path_factory.mktemp("kept")
    retention = Retention(max_bytes=limits[0] * BLOCK, max_files=limits[1])
    keeper = _keeper(root, retention, flat=flat)
    shelf = ""
    model: list[tuple[str, int]] = []
    for number, size in enumerate(sizes):
        if not flat and (number % per_shelf == 0 or number in restarts):
            shelf = f"20261127T10{number:04d}Z"
            _shelf(root, shelf)
            if number in restarts:
                keeper.close()
                keeper = _keeper(root, retention)
            keeper.add_shelf(shelf)
        keeper.admit(size)
        name = f"{number:06d}.bin"
        (root / shelf / name).write_bytes(b"x" * size)
        keeper.add(name, size, shelf)
        blocks = -(-size // BLOCK)
        while len(model) + 1 > limits[1] or sum(each for _, each in model) + blocks > limits[0]:
            model.pop(0)
        model.append((f"{shelf}/{name}".lstrip("/"), blocks))
        assert _bins(root) == [name for name, _ in model]
        assert _bytes(root) == keeper.used <= limits[0] * BLOCK
        assert not [path for path in root.glob("2*") if path.name != shelf and not list(path.glob("*.bin"))]
    keeper.close()


def test_what_was_there_before_is_counted_and_cut_to_size(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        _shelf(tmp_path, f"2026110{day}T000000Z", dict.fromkeys(range(200), BLOCK))
    keeper = _keeper(tmp_path, Retention(max_bytes=250 * BLOCK))
    assert len(_bins(tmp_path)) == 250
    assert not (tmp_path / "20261101T000000Z").exists()
    assert keeper.used == 250 * BLOCK
    assert keeper.removed == 350
    keeper.close()


def test_free_space_is_kept_by_removing_no_more_than_needed(tmp_path: Path) -> None:
    """Even on a file system that tells late what was freed."""
    _shelf(tmp_path, "20261101T000000Z", dict.fromkeys(range(20), BLOCK))
    free = [100 * BLOCK]
    keeper = _keeper(tmp_path, Retention(min_free_bytes=50 * BLOCK), free=lambda _: free[0])
    assert len(_bins(tmp_path)) == 20
    free[0] = 47 * BLOCK
    keeper.admit(2 * BLOCK)
    assert len(_bins(tmp_path)) == 15
    free[0] = 0
    with pytest.raises(InputError, match=r"no room in .* bytes are free on the disk, 204800 are to stay free"):
        keeper.admit(BLOCK)
    assert _bins(tmp_path) == ["20261101T000000Z/000019.bin"]
    keeper.close()


def test_work_for_one_write_is_bounded(tmp_path: Path) -> None:
    _shelf(tmp_path, "20261101T000000Z", dict.fromkeys(range(300), 1))
    limit = [10**9]
    keeper = _keeper(tmp_path, Retention(min_free_bytes=1), free=lambda _: limit[0])
    limit[0] = -(10**9)
    for left in (236, 172):
        with pytest.raises(InputError, match="no room"):
            keeper.admit(1)
        assert len(_bins(tmp_path)) == left
    keeper.close()


@pytest.mark.parametrize("flat", [True, False])
def test_old_files_go_but_not_the_last(tmp_path: Path, flat: bool) -> None:
    folder = tmp_path if flat else _shelf(tmp_path, "20261101T000000Z")
    now = time.time()
    for number, age in enumerate((50, 40, 5)):
        path = folder / f"{number:06d}.bin"
        path.write_bytes(b"x")
        os.utime(path, (now - age * 3600, now - age * 3600))
    keeper = _keeper(tmp_path, Retention(max_age=timedelta(hours=45)), flat=flat)
    keeper.admit(1)
    assert [path.name for path in sorted(folder.glob("*.bin"))] == ["000001.bin", "000002.bin"]
    later = _keeper_at(keeper, now + 10 * 24 * 3600)
    later.admit(1)
    assert [path.name for path in folder.glob("*.bin")] == ["000002.bin"]
    keeper.close()


def _keeper_at(keeper: Keeper, now: float) -> Keeper:
    keeper._wall = lambda: now
    return keeper


def test_shelves_without_files_do_not_stop_it(tmp_path: Path) -> None:
    """Sessions of nothing but lines, as of a camera that was unplugged for days."""
    for day in range(1, 6):
        (_shelf(tmp_path, f"2026110{day}T000000Z") / "lines").write_bytes(b"x" * 10 * BLOCK)
    keeper = _keeper(tmp_path, Retention(max_bytes=25 * BLOCK))
    assert [path.name for path in sorted(tmp_path.glob("2*"))] == ["20261104T000000Z", "20261105T000000Z"]
    keeper.admit(10 * BLOCK)
    assert [path.name for path in sorted(tmp_path.glob("2*"))] == ["20261105T000000Z"]
    with pytest.raises(InputError, match="no room"):
        keeper.admit(20 * BLOCK)
    keeper.close()


def test_a_shelf_named_by_a_wrong_clock_goes_first(tmp_path: Path) -> None:
    for name in ("20990101T000000Z", "20261101T000000Z"):
        _shelf(tmp_path, name, dict.fromkeys(range(10), 1))
    keeper = _keeper(tmp_path, Retention(max_files=12), wall=lambda: 1795776000.0)  # 2026-11-27
    assert len(list((tmp_path / "20990101T000000Z").glob("*.bin"))) == 2
    keeper.close()


def _foreign(root: Path) -> dict[str, Callable[[Path], object]]:
    return {
        "20261101T000000Z/notes.txt": lambda path: path.write_text("mine"),
        "20261101T000000Z/000000.bin.bak": lambda path: path.write_text("mine"),
        "20261101T000000Z/000003.bin": lambda path: path.symlink_to(root / "precious.bin"),
        "20261101T000000Z/000004.bin": lambda path: path.mkdir(),
        "20261102T000000Z": lambda path: path.symlink_to(root / "elsewhere"),
        "20261103T000000Z/000001.bin": lambda path: (path.parent.mkdir(), path.write_text("no mark there")),
        "20261104T000000Z/000001.bin": lambda path: (
            path.parent.mkdir(),
            (path.parent / "mark").symlink_to(root / "precious.bin"),
            path.write_text("its mark is a link"),
        ),
        "holidays/000001.bin": lambda path: (path.parent.mkdir(), path.write_text("mine")),
        "000001.bin": lambda path: path.write_text("not in a shelf"),
    }


def test_nothing_foreign_is_removed_nor_links_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    _shelf(tmp_path, "elsewhere", {1: 1, 2: 1})
    (tmp_path / "precious.bin").write_text("precious")
    _shelf(root, "20261101T000000Z", {0: 1, 1: 1, 2: 1})
    foreign = _foreign(tmp_path)
    for name, make in foreign.items():
        make(root / name)
    _shelf(root, "20261105T000000Z", {7: 1, 8: 1})
    (root / "20261101T000000Z" / ".000009.tmp").write_text("left by a crash")
    keeper = _keeper(root, Retention(max_files=2))
    for _ in range(5):
        keeper.relieve(10**9)
    keeper.close()
    ours = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert "20261105T000000Z/000008.bin" in ours  # the newest
    for name in foreign:
        assert os.path.lexists(root / name), name
    assert {f"20261101T000000Z/{n:06d}.bin" for n in range(3)}.isdisjoint(ours)
    assert not (root / "20261101T000000Z" / ".000009.tmp").exists()
    assert (tmp_path / "precious.bin").read_text() == "precious"
    assert len(list((tmp_path / "elsewhere").glob("*.bin"))) == 2


def test_a_link_put_in_a_shelfs_place_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    _shelf(tmp_path, "elsewhere", dict.fromkeys(range(5), 1))
    shelf = _shelf(root, "20261101T000000Z", dict.fromkeys(range(5), 1))
    _shelf(root, "20261102T000000Z", {9: 1})
    keeper = _keeper(root, Retention(max_files=100))
    shelf.rename(tmp_path / "moved")
    shelf.symlink_to(tmp_path / "elsewhere")
    while keeper.relieve(10**9):
        pass
    assert len(list((tmp_path / "elsewhere").glob("*.bin"))) == 5
    keeper.close()


def test_one_keeper_to_a_root_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    keeper = _keeper(tmp_path / "root", Retention())
    with pytest.raises(InputError, match="being written to by another run or sink"):
        _keeper(tmp_path / "link", Retention())
    keeper.close()
    keeper.close()
    _keeper(tmp_path / "link", Retention()).close()


@pytest.mark.parametrize(
    "limits", [{"max_bytes": 0}, {"min_free_bytes": -1}, {"max_age": timedelta(0)}, {"max_files": 1}]
)
def test_limits_that_make_no_sense(limits: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Retention(**limits)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_hundred_thousand_files_are_counted_beside_the_writing(tmp_path: Path) -> None:
    for number in range(10):
        shelf = _shelf(tmp_path, f"202611{number + 1:02d}T000000Z")
        for file in range(10_000):
            (shelf / f"{file:06d}.bin").touch()
    start = time.perf_counter()
    keeper = Keeper(tmp_path, Retention(max_files=200_000), FILES, shelves=SHELVES, marker="mark")
    _shelf(tmp_path, "20261201T000000Z")
    keeper.add_shelf("20261201T000000Z")
    slowest = 0.0
    while not keeper.counted.is_set():
        before = time.perf_counter()
        keeper.admit(1)
        slowest = max(slowest, time.perf_counter() - before)
        time.sleep(0.001)
    taken = time.perf_counter() - start
    keeper.close()
    print(f"opened and counted in {taken:.2f} s, slowest write waited {slowest * 1e3:.1f} ms")
    assert keeper.used == 0
    assert slowest < 0.25

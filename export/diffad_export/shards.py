"""Arrays with one row per sample, too large for memory, written by several processes and read as one.

Rows are cut into shards, a folder each, whose bounds depend on the number of rows alone: what is on disk is the same
for any number of processes, and a killed run goes on with the shards that are missing. Process r of n writes the shards
r, r + n, ... On a network file system a shard that another node wrote may show late, and is waited for.
Knows nothing of images or features.
"""

import math
import mmap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_export.distributed import World
from diffad_export.progress import bar
from diffad_export.wholefolder import sweep, whole_folder
from diffad_runtime.errors import InputError

BATCH = 16
LEAST_ROWS = 4 * BATCH
MOST_SHARDS = 64  # every one is an open file
WAIT_SECONDS = 120.0

Rows = npt.NDArray[np.int64]
# rows, BATCH of them or fewer -> named arrays with these rows
Make = Callable[[Rows], dict[str, npt.NDArray[Any]]]


class ShardedArray:
    """Memory-mapped parts, one after the other along the first axis. Copies what is asked for; never changes."""

    def __init__(self, parts: Sequence[np.memmap[Any, Any]]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        # Plain views: a memmap's own indexing costs more than the copy of a small row.
        self._plain = [np.asarray(part) for part in parts]
        self.dtype = parts[0].dtype
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Rows | slice) -> npt.NDArray[Any]:
        """Copy of `rows` (n,): (n, ...)."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        places = [self._place(int(row)) for row in rows]
        for part, row in places:
            self._announce(self._parts[part], row)
        out = np.empty((len(places), *self.shape[1:]), self.dtype)
        for target, (part, row) in enumerate(places):
            out[target] = self._plain[part][row]
        return out

    def _place(self, row: int) -> tuple[int, int]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        part = int(np.searchsorted(self._ends, row, side="right"))
        return part, row - int(self._ends[part]) + len(self._parts[part])

    @staticmethod
    def _announce(part: np.memmap[Any, Any], row: int) -> None:
        """Tell the kernel that this row is next: a cold batch then comes five times as fast as fault by fault."""
        size = part.nbytes // len(part)
        begin = part.offset + row * size
        aligned = begin - begin % mmap.PAGESIZE
        # The mapping starts at the file's start: open_memmap maps from the page that holds the offset, here the first.
        if isinstance(part.base, mmap.mmap):
            part.base.madvise(mmap.MADV_WILLNEED, aligned, begin - aligned + size)


def write_shards(folder: Path, count: int, make: Make, world: World, note: str) -> None:
    """Write this process's share of `count` rows under `folder`, but for shards that are there already.

    Args:
        make: gives the arrays of some rows; the same rows for any number of processes.
        note: label of the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if world.is_main:
        sweep(folder.parent)
    world.meet()  # nobody writes while another sweeps
    mine = _shards(count)[world.rank :: world.size]
    mine = [shard for shard in mine if not (folder / shard[0]).exists()]
    if not mine:
        return
    with bar() as progress:
        task = progress.add_task(note, total=sum(end - start for _, start, end in mine))
        for name, start, end in mine:
            with whole_folder(folder / name) as work:
                _write(work, start, end, make, lambda rows: progress.advance(task, rows))


def open_shards(folder: Path, count: int, names: Sequence[str], world: World) -> dict[str, ShardedArray]:
    """Open what all processes wrote, waiting for the last of them.

    Raises:
        InputError: shards of other processes do not show up, or a file is broken.
    """
    world.meet()
    shards = [folder / name for name, _, _ in _shards(count)]
    patience = time.monotonic() + WAIT_SECONDS
    while missing := [shard for shard in shards if not shard.exists()]:
        if time.monotonic() > patience:
            raise InputError(
                f"{missing[0]} was written by another process, but does not show here after {WAIT_SECONDS:.0f} s",
                mend="Give a run folder on a file system that all nodes share",
            )
        time.sleep(0.2)
    try:
        return {name: ShardedArray([np.load(s / f"{name}.npy", mmap_mode="r") for s in shards]) for name in names}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder}: {error}", mend="Delete this folder; it is made again") from None


def _shards(count: int) -> list[tuple[str, int, int]]:
    """(name, first row, row after the last) of each shard of `count` rows."""
    rows = max(LEAST_ROWS, BATCH * math.ceil(count / MOST_SHARDS / BATCH))
    return [(f"rows-{start:08d}", start, min(start + rows, count)) for start in range(0, count, rows)]


def _write(work: Path, start: int, end: int, make: Make, done: Callable[[int], None]) -> None:
    files: dict[str, np.memmap[Any, Any]] = {}
    for first in range(start, end, BATCH):
        rows = np.arange(first, min(first + BATCH, end))
        for name, values in make(rows).items():
            if name not in files:
                shape = (end - start, *values.shape[1:])
                files[name] = np.lib.format.open_memmap(work / f"{name}.npy", "w+", values.dtype, shape)
            files[name][first - start : first - start + len(rows)] = values
        done(len(rows))
    for file in files.values():
        file.flush()

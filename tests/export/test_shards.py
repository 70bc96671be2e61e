"""Sharded arrays: one array to the reader, the same files for any number of writers, interrupted work taken up."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffad_export import shards
from diffad_export.distributed import World
from diffad_export.shards import Rows, ShardedArray, open_shards, write_shards
from diffad_runtime.errors import InputError

CPU = torch.device("cpu")
COUNT = 3 * 64 + 21


class Squares:
    """Row r holds r and r^2; remembers what it was asked for, breaks at a row."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked, self.breaks_at = list[int](), breaks_at

    def __call__(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        assert len(rows) <= 16
        if self.breaks_at in rows:
            raise KeyboardInterrupt
        self.asked += rows.tolist()
        return {
            "plain": np.tile(rows[:, None, None], (1, 3, 2)).astype(np.int32),
            "square": rows.astype(np.float64) ** 2,
        }


def write(folder: Path, rank: int = 0, size: int = 1, make: Squares | None = None) -> Squares:
    make = make or Squares()
    write_shards(folder, COUNT, make, World(CPU, rank, size), "Squares")
    return make


def read(folder: Path) -> dict[str, ShardedArray]:
    return open_shards(folder, COUNT, ("plain", "square"), World(CPU))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def test_it_reads_as_one_array(tmp_path: Path) -> None:
    write(tmp_path)
    plain, square = read(tmp_path).values()
    assert (plain.shape, plain.dtype, len(plain)) == ((COUNT, 3, 2), np.int32, COUNT)
    rows = np.array([212, 0, 64, 63, 130, 64, -1])
    assert np.array_equal(plain[rows], np.tile(rows[:, None, None] % COUNT, (1, 3, 2)))
    assert np.array_equal(square[rows], (rows % COUNT) ** 2.0)
    assert np.array_equal(square[:], np.arange(COUNT) ** 2.0)
    assert np.array_equal(square[60:70], np.arange(60, 70) ** 2.0)
    for beyond in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError, match=f"row {beyond} of {COUNT}"):
            square[np.array([beyond])]


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path)
    read(tmp_path)["square"][:][:] = -1
    assert read(tmp_path)["square"][:].min() == 0


@pytest.mark.parametrize("size", [2, 3, 7])
def test_any_number_of_processes_writes_the_same_files(tmp_path: Path, size: int) -> None:
    write(tmp_path / "one")
    parts = [write(tmp_path / "many", rank, size).asked for rank in range(size)]
    assert sorted(row for part in parts for row in part) == list(range(COUNT))
    assert sum(1 for part in parts if part) == min(size, 4)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_a_broken_run_leaves_whole_shards_which_the_next_one_keeps(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", make=Squares(breaks_at=150))
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["rows-00000000", "rows-00000064"]
    assert write(tmp_path / "cut", rank=1, size=2).asked == list(range(192, COUNT))
    assert write(tmp_path / "cut").asked == list(range(128, 192))
    write(tmp_path / "whole")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert write(tmp_path / "cut").asked == []


def test_shards_of_another_process_that_do_not_show_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "WAIT_SECONDS", 0.3)
    write(tmp_path, rank=0, size=2)
    with pytest.raises(InputError, match=r"rows-00000064 was written by another process.*all nodes share"):
        read(tmp_path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "rows-00000064" / "plain.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot read .*Delete this folder"):
        read(tmp_path)


@pytest.mark.parametrize("count", [1, 16, 64, 65, 4096, 4097, 100_000])
def test_bounds_cover_all_rows_in_few_files(count: int) -> None:
    bounds = shards._shards(count)
    assert [start for _, start, _ in bounds] == [0, *(end for _, _, end in bounds[:-1])]
    assert bounds[-1][2] == count
    assert len(bounds) <= 64
    assert all(start % 16 == 0 for _, start, _ in bounds)

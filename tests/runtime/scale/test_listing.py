"""The images of a folder, as a job hands them out."""

import os
from pathlib import Path

import pytest

from diffad_runtime.errors import DataError
from diffad_runtime.scale.listing import listing


def test_order_names_sizes_and_times(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.jpg", ".hidden/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    os.utime(tmp_path / "a.jpg", ns=(1, 12345))
    items = listing(tmp_path)
    assert [(item.index, item.name) for item in items] == [(0, "a.jpg"), (1, "b/10.png"), (2, "b/2.png")]
    assert (items[0].file_bytes, items[0].file_mtime_ns) == (5, 12345)
    assert not any(item.refused for item in items)


def test_two_images_with_one_mask(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    first, second, third = listing(tmp_path)
    assert (first.refused, third.refused) == ("", "")
    assert "'a.png' and 'a.jpg'" in second.refused


def test_a_name_that_no_table_can_hold(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (item,) = listing(tmp_path)
    assert item.name == "\\udcff.png"
    assert "UTF-8" in item.refused


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        listing(tmp_path)

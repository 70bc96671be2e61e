"""OUT: what counts as done, what a kill may leave, and that rows never speak of files that are not there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import InputError
from diffad_runtime.result import Defect, ErrorCode, RegionScore, Result, Verdict
from diffad_runtime.scale.listing import Item
from diffad_runtime.scale.outfolder import Judge, OutFolder
from diffad_runtime.scale.rows import STAGES, received, row_of, schema, sent, sent_fatal

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: scale)")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: scale)")

JUDGE = Judge("d" * 64, "int8", "onnxruntime")
NOW = datetime(2026, 11, 27, 8, 30, 0, 123456, timezone.utc)


def result(one: Item, verdict: Verdict = Verdict.NG) -> Result:
    error = verdict is Verdict.ERROR
    return Result(
        frame_id=one.index,
        t_capture=NOW,
        score=float("nan") if error else 1.25,
        verdict=verdict,
        mask=np.full((2, 3), 255, np.uint8),
        anomaly_map=np.full((4, 4), 0.5, np.float32),
        latency_ms=dict.fromkeys(STAGES, 1.5),
        bundle_digest=JUDGE.digest,
        variant=JUDGE.variant,
        backend=JUDGE.backend,
        image_threshold=1.0,
        pixel_threshold=0.25,
        part_id="part",
        recipe="recipe",
        name=one.name,
        error="why" if error else "",
        extra={"sharpness": 2.0},
        defects=(Defect(6, (0, 0, 3, 2), 0.5, (1.5, 1.0), "lid"),),
        regions=(RegionScore("lid", 1.25, 1.0, verdict),),
        code=ErrorCode.PICTURE if error else ErrorCode.NONE,
    )


def item(number: int, **changes: Any) -> Item:
    return replace(Item(number, f"{number}.png", 100 + number, 1000 + number), **changes)


def rows(items: list[Item], verdict: Verdict = Verdict.OK) -> Any:
    table = sent([row_of(result(one, verdict), one, f"masks/{one.name}") for one in items], 0)
    return received(table)[0]


def touch(out: Path, *items: Item, raw: bool = False) -> None:
    for one in items:
        for name in (f"masks/{one.name}", *([f"raw/{one.name}.npy"] if raw else [])):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(b"x")


def names(out: Path) -> list[str]:
    return pq.read_table(out / "results.parquet").column("name").to_pylist()  # type: ignore[no-any-return]


def test_a_row_holds_every_field_of_a_result() -> None:
    (row,) = rows([item(3)], Verdict.NG).to_pylist()
    made = result(item(3))
    for name in (field for field in Result.__dataclass_fields__ if field not in {"mask", "anomaly_map"}):
        assert name in row, name
    for name in ("score", "bundle_digest", "image_threshold", "pixel_threshold", "part_id", "recipe", "name", "error"):
        assert row[name] == getattr(made, name)
    assert (row["t_capture"], row["t_trigger"], row["code"], row["verdict"]) == (NOW, None, 0, "NG")
    assert row["latency_ms"] == made.latency_ms
    assert dict(row["extra"]) == made.extra
    assert row["defects"] == [
        {"area_px": 6, "box": [0, 0, 3, 2], "peak": 0.5, "centre": [1.5, 1.0], "region": "lid"},
    ]
    assert row["regions"] == [{"region": "lid", "score": 1.25, "threshold": 1.0, "verdict": "NG"}]
    assert (row["mask_path"], row["mask_pixels"], row["anomaly_max"]) == ("masks/3.png", 6, 0.5)
    assert (row["file_bytes"], row["file_mtime_ns"]) == (103, 1003)


def test_an_error_row_has_no_score_and_no_mask() -> None:
    (row,) = rows([item(0)], Verdict.ERROR).to_pylist()
    assert [row[name] for name in ("score", "mask_path", "mask_pixels", "anomaly_max")] == [None] * 4
    assert (row["error"], row["code"]) == ("why", int(ErrorCode.PICTURE))


def test_a_worker_that_cannot_work_says_why() -> None:
    assert received(sent_fatal("no disk"))[1:] == (0, "no disk")
    assert received(sent([row_of(result(item(0)), item(0), None)], 3))[1:] == (3, "")


def test_what_is_done_is_not_left_and_the_table_is_in_order(tmp_path: Path) -> None:
    items = [item(number) for number in range(5)]
    with OutFolder(tmp_path) as out:
        assert out.begin(items, JUDGE, raw=False) == items
        out.add(rows([items[3], items[1]]))
        touch(tmp_path, items[3], items[1])
        out.finish()
        out.clear()
    assert names(tmp_path) == ["1.png", "3.png"]
    # One more image before all others: everything moves up.
    more = [item(0, name="0-new.png"), *(replace(one, index=one.index + 1) for one in items)]
    with OutFolder(tmp_path) as out:
        assert [one.name for one in out.begin(more, JUDGE, raw=False)] == ["0-new.png", "0.png", "2.png", "4.png"]
        table = out.finish()
    assert table.column("frame_id").to_pylist() == [2, 4]


CHANGES: dict[str, Callable[[Item, Path], tuple[Item, Judge]]] = {
    "another size": lambda one, _: (replace(one, file_bytes=1), JUDGE),
    "another time": lambda one, _: (replace(one, file_mtime_ns=1), JUDGE),
    "another bundle": lambda one, _: (one, replace(JUDGE, digest="e" * 64)),
    "another variant": lambda one, _: (one, replace(JUDGE, variant="fp32")),
    "another backend": lambda one, _: (one, replace(JUDGE, backend="tensorrt")),
    "no mask": lambda one, out: ((out / "masks" / one.name).unlink(), (one, JUDGE))[1],  # type: ignore[func-returns-value]
    "refused now": lambda one, _: (replace(one, refused="why"), JUDGE),
    "gone": lambda one, _: (replace(one, name="other.png"), JUDGE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_that_is_no_longer_true_goes_before_its_files_are_written(tmp_path: Path, change: str) -> None:
    first, second = item(0), item(1)
    with OutFolder(tmp_path) as out:
        out.begin([first, second], JUDGE, raw=False)
        touch(tmp_path, first, second)
        out.add(rows([first, second]))
        out.finish()
    changed, judge = CHANGES[change](second, tmp_path)
    with OutFolder(tmp_path) as out:
        left = out.begin([first, changed], judge, raw=False)
        assert changed in left
        # Killed here: the table on the disk says nothing of the image that is to be scored again.
        assert "1.png" not in names(tmp_path)
    assert ("0.png" in names(tmp_path)) == (judge == JUDGE)


def test_errors_are_tried_again_and_maps_that_are_wanted_now_are_made(tmp_path: Path) -> None:
    good, bad = item(0), item(1)
    with OutFolder(tmp_path) as out:
        out.begin([good, bad], JUDGE, raw=False)
        touch(tmp_path, good)
        out.add(rows([good]))
        out.add(rows([bad], Verdict.ERROR))
        out.finish()
    with OutFolder(tmp_path) as out:
        assert out.begin([good, bad], JUDGE, raw=False) == [bad]
        out.finish()
    with OutFolder(tmp_path) as out:
        assert out.begin([good, bad], JUDGE, raw=True) == [good, bad]
        touch(tmp_path, good, raw=True)
        out.add(rows([good]))
        out.finish()
    with OutFolder(tmp_path) as out:
        assert out.begin([good, bad], JUDGE, raw=True) == [bad]


def test_a_killed_job_loses_seconds_and_leaves_no_half_file(tmp_path: Path) -> None:
    now = 0.0
    items = [item(number) for number in range(3)]
    touch(tmp_path, *items)
    out = OutFolder(tmp_path, clock=lambda: now)
    out.begin(items, JUDGE, raw=False)
    out.add(rows([items[0]]))
    now = 10.0
    out.add(rows([items[1]]))  # both are on the disk from here on
    out.add(rows([items[2]]))  # this one is not yet
    leftovers = [
        tmp_path / "masks" / ".2.png.0123456789ab.tmp",
        tmp_path / "raw" / "a" / ".2.png.0123456789ab.tmp.npy",
        tmp_path / ".results.0123456789ab.tmp.parquet",
        tmp_path / ".scoring" / ".rows-000002.0123456789ab.tmp.parquet",
    ]
    stays = tmp_path / "masks" / ".mine"
    for path in (*leftovers, stays):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    out.close()  # as the kernel does
    assert not (tmp_path / "results.parquet").exists()
    with OutFolder(tmp_path) as again:
        assert again.begin(items, JUDGE, raw=False) == [items[2]]
        again.finish()
        again.clear()
    assert names(tmp_path) == ["0.png", "1.png"]
    assert not any(path.exists() for path in leftovers)
    assert stays.exists()
    assert not (tmp_path / ".scoring").exists()


def test_a_row_in_two_files_counts_once(tmp_path: Path) -> None:
    """Killed between the table's new name and the parts' end."""
    one = item(0)
    touch(tmp_path, one)
    out = OutFolder(tmp_path, clock=lambda: 0.0)
    out.begin([one], JUDGE, raw=False)
    out.add(rows([one]))
    out.flush()
    part = (tmp_path / ".scoring" / "rows-000001.parquet").read_bytes()
    out.finish()
    out.close()
    (tmp_path / ".scoring" / "rows-000001.parquet").write_bytes(part)
    with OutFolder(tmp_path) as again:
        assert again.begin([one], JUDGE, raw=False) == []
        again.finish()
    assert names(tmp_path) == ["0.png"]


def test_one_job_at_a_time(tmp_path: Path) -> None:
    with OutFolder(tmp_path), pytest.raises(InputError, match="being written to"):
        OutFolder(tmp_path)
    OutFolder(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"not parquet", "table"])
def test_a_table_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "results.parquet"
    if isinstance(content, str):
        pq.write_table(pa.table({"name": ["a"]}), path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with OutFolder(tmp_path) as out, pytest.raises(InputError, match="not a table of results"):
        out.begin([item(0)], JUDGE, raw=False)
    assert path.read_bytes() == before


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="cannot be written to"):
        OutFolder(tmp_path / "out")


def test_workers_find_the_bundle_as_it_was_verified(tmp_path: Path, tiny_bundle: Path) -> None:
    with OutFolder(tmp_path) as out:
        out.announce(open_bundle(tiny_bundle))
        assert (tmp_path / ".scoring" / "model.diffad").read_bytes() == tiny_bundle.read_bytes()
        assert (tmp_path / ".scoring" / "token").read_text() == out.token


def test_the_schema_keeps_its_columns() -> None:
    """Readers hold on to names and types: a change belongs into CHANGELOG."""
    assert [(field.name, str(field.type)) for field in schema()][:7] == [
        ("frame_id", "int64"),
        ("t_capture", "timestamp[us, tz=UTC]"),
        ("name", "string"),
        ("verdict", "string"),
        ("score", "double"),
        ("error", "string"),
        ("code", "int32"),
    ]
    assert len(schema()) == 24

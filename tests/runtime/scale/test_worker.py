"""What runs on a worker, here in this process: rows and files, and every reason not to begin."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffad_runtime.bundle import open_bundle
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.imagefile import write_png
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import ErrorCode, Result
from diffad_runtime.scale import worker as worker_module
from diffad_runtime.scale.listing import listing
from diffad_runtime.scale.outfolder import OutFolder
from diffad_runtime.scale.rows import received
from diffad_runtime.scale.worker import Probe, Scorer, Task, probe, release

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: scale)")


@pytest.fixture(autouse=True)
def threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sets OpenCV's threads for its process, which is not ours here."""
    monkeypatch.setattr(worker_module.cv2, "setNumThreads", lambda _: None)


@pytest.fixture
def task(golden_bundle: Path, tmp_path: Path) -> Task:
    (tmp_path / "images").mkdir()
    bundle = open_bundle(golden_bundle)
    with OutFolder(tmp_path / "out") as out:
        out.announce(bundle)
        return Task(
            folder=str(tmp_path / "images"),
            out=str(tmp_path / "out"),
            token=out.token,
            digest=bundle.digest,
            release=release(),
            backend="onnxruntime",
            variant="int8",
            threads=1,
            raw=True,
        )


def score(task: Task) -> tuple[dict[str, dict[str, Any]], int, str]:
    """Rows by name, attempts, and why it cannot work."""
    batch = pa.Table.from_pylist([item.plain() for item in listing(Path(task.folder))])
    rows, attempts, fatal = received(Scorer(task)(batch))
    return {row["name"]: row for row in rows.to_pylist()}, attempts, fatal


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in ("masks", "raw")
        for path in (folder / kind).rglob("*")
        if path.is_file()
    }


def test_rows_and_files_are_those_of_a_single_process(
    task: Task,
    golden_bundle: Path,
    tmp_path: Path,
    pictures: Callable[[Path, int], Path],
    single: Callable[[Path, Path, Path], dict[str, Result]],
) -> None:
    folder = pictures(Path(task.folder), 9)
    expected = single(golden_bundle, folder, tmp_path / "single")
    rows, attempts, fatal = score(task)
    assert (attempts, fatal) == (0, "")
    assert {result.verdict.value for result in expected.values()} == {"OK", "NG"}
    assert set(rows) == {*expected, "b/broken.png"}
    for name, result in expected.items():
        row = rows[name]
        assert (row["score"], row["verdict"]) == (result.score, result.verdict.value)
        assert row["mask_path"] == f"masks/{Path(name).with_suffix('.png').as_posix()}"
        assert row["mask_pixels"] == np.count_nonzero(result.mask)
        assert len(row["defects"]) == len(result.defects)
    assert files(tmp_path / "out") == files(tmp_path / "single")
    broken = rows["b/broken.png"]
    assert (broken["verdict"], broken["code"]) == ("ERROR", ErrorCode.PICTURE)
    assert "is not an image" in broken["error"]
    assert not list((tmp_path / "out" / ".scoring" / "attempts").iterdir())


def test_an_image_that_became_unreadable_loses_its_mask(task: Task) -> None:
    image = Path(task.folder) / "a.png"
    write_png(image, np.full((64, 64, 3), 128, np.uint8))
    assert score(task)[0]["a.png"]["verdict"] == "OK"
    image.write_bytes(b"")
    assert score(task)[0]["a.png"]["verdict"] == "ERROR"
    assert files(Path(task.out)) == {}


def test_the_second_of_two_images_with_one_mask_leaves_the_mask_alone(task: Task) -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    write_png(Path(task.folder) / "a.bmp.png", white)
    (Path(task.folder) / "a.bmp.png").rename(Path(task.folder) / "a.bmp")
    write_png(Path(task.folder) / "a.png", white)
    rows, _, _ = score(task)
    assert (rows["a.bmp"]["verdict"], rows["a.png"]["verdict"]) == ("NG", "ERROR")
    assert "one mask file" in rows["a.png"]["error"]
    assert (Path(task.out) / "masks" / "a.png").is_file()


def test_files_that_cannot_be_written_make_the_row_an_error(task: Task) -> None:
    write_png(Path(task.folder) / "sub" / "a.png", np.full((64, 64, 3), 128, np.uint8))
    write_png(Path(task.folder) / "b.png", np.full((64, 64, 3), 128, np.uint8))
    (Path(task.out) / "masks").mkdir()
    (Path(task.out) / "masks" / "sub").write_text("in the way")
    rows, _, fatal = score(task)
    assert fatal == ""
    assert (rows["sub/a.png"]["verdict"], rows["b.png"]["verdict"]) == ("ERROR", "OK")
    assert rows["sub/a.png"]["mask_path"] is None
    assert "masks/sub" in rows["sub/a.png"]["error"]
    assert rows["sub/a.png"]["code"] == ErrorCode.INTERNAL


def test_an_engine_that_fails_again_and_again_ends_the_job(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(Path(task.folder) / "a.png", np.full((64, 64, 3), 128, np.uint8))
    rules = Inspector.open(Path(task.out) / ".scoring" / "model.diffad", "onnxruntime", "int8", 1).rules
    broken = Inspector(FakeEngine(fails=lambda _: True), rules)
    monkeypatch.setattr(worker_module, "open_inspector", lambda _: broken)
    rows, _, _ = score(task)
    assert (rows["a.png"]["verdict"], rows["a.png"]["code"]) == ("ERROR", ErrorCode.ENGINE)
    monkeypatch.setattr(worker_module, "_MOST_FAILURES", 2)
    assert "the engine failed 2 times in a row" in score(task)[2]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another release": ({"release": "9.9"}, "the job was started by 9.9"),
    "no images": ({"folder": "/nowhere"}, "there is no folder /nowhere"),
    "another OUT": ({"token": "x"}, "is not the folder that the job writes to"),
    "another bundle": ({"digest": "0" * 64}, "expected 000000000000"),
    "no such variant": ({"variant": "none"}, "no variant 'none'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_worker_that_cannot_do_the_job_says_why(task: Task, wrong: str) -> None:
    changes, words = WRONG[wrong]
    write_png(Path(task.folder) / "a.png", np.full((64, 64, 3), 128, np.uint8))
    found = probe(replace(task, **changes))
    assert words in found.error
    assert found.mend
    scorer = Scorer(replace(task, **changes))
    assert words in received(scorer(pa.table({})))[2]
    assert files(Path(task.out)) == {}


def test_the_probe_settles_variant_and_backend(task: Task) -> None:
    assert probe(replace(task, backend="auto", variant=None)) == Probe("onnxruntime", "int8")

"""Jobs on a real Ray cluster of two workers: the same output as of one process, whoever dies and whenever it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from diffad_runtime.errors import DataError, EngineError, InputError, MissingExtraError
from diffad_runtime.imagefile import write_png
from diffad_runtime.result import Result
from diffad_runtime.scale import RaySummary, packages, score_on_ray
from diffad_runtime.scale.listing import Item
from diffad_runtime.scale.worker import Scorer

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: scale)")
ray = pytest.importorskip("ray", reason="Ray is not installed (extra: scale)")

pytestmark = [
    # Ray sets options of its own that it calls deprecated, and tells of what later releases will do.
    pytest.mark.filterwarnings(r"ignore::Warning:ray\."),
    # It leaves files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SMALL = {"include_dashboard": False, "object_store_memory": 100 << 20, "log_to_driver": False, "logging_level": 40}
NOT_OF_THE_JUDGEMENT = {"t_capture", "latency_ms"}

Write = Callable[[Path, int], Path]
Single = Callable[[Path, Path, Path], dict[str, Result]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores, so two workers of one thread; all jobs here go to it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, _temp_dir=folder, **SMALL)
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def score(bundle: Path, folder: Path, out: Path, **options: Any) -> RaySummary:
    usual = {"backend": "onnxruntime", "variant": "int8", "workers": 2, "batch": 4}
    return score_on_ray(bundle, folder, out, **{**usual, **options})


def rows(out: Path) -> dict[str, dict[str, Any]]:
    found = pq.read_table(out / "results.parquet").to_pylist()
    assert [row["frame_id"] for row in found] == list(range(len(found)))
    return {row["name"]: {key: row[key] for key in row if key not in NOT_OF_THE_JUDGEMENT} for row in found}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for kind in ("masks", "raw")
        for path in (folder / kind).rglob("*")
        if path.is_file()
    }


def check(out: Path, expected: dict[str, Result], single_out: Path, errors: set[str]) -> None:
    """OUT is what one process makes, to the last bit, and nothing of the job is left."""
    found = rows(out)
    assert {name for name, row in found.items() if row["verdict"] == "ERROR"} == errors
    judged = {name: (row["score"], row["verdict"]) for name, row in found.items() if name not in errors}
    assert judged == {
        name: (result.score, result.verdict.value) for name, result in expected.items() if name not in errors
    }
    gone = {f"masks/{name}" for name in errors} | {f"raw/{name}.npy" for name in errors}
    assert files(out) == {name: data for name, data in files(single_out).items() if name not in gone}
    assert {path.name for path in out.iterdir()} == {"results.parquet", "masks", "raw", ".scoring.lock"}


def workers() -> list[psutil.Process]:
    """Ray's actors of this job, children of a raylet of ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "MapBatches" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_workers_give_what_one_process_gives_and_go_on_where_they_were(
    golden_bundle: Path, tmp_path: Path, pictures: Write, single: Single
) -> None:
    folder = pictures(tmp_path / "images", 60)
    later = sorted(path for path in folder.rglob("*.png") if path.name > "0029.png" and path.name != "broken.png")
    for path in later:
        path.rename(tmp_path / path.name)
    told: list[tuple[int, int]] = []
    first = score(golden_bundle, folder, tmp_path / "out", raw=True, progress=lambda *counts: told.append(counts))
    assert (first.images, first.scored, first.kept, first.errors, first.retried) == (31, 31, 0, 1, 0)
    assert first.problems[0].startswith("b/broken.png: ")
    assert told[0] == (0, 31)
    assert told[-1] == (31, 31)
    before = rows(tmp_path / "out")
    stamps = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files(tmp_path / "out")}

    for path in later:
        (tmp_path / path.name).rename(path)
    second = score(golden_bundle, folder, tmp_path / "out", raw=True)
    # What was an ERROR is tried again.
    assert (second.images, second.scored, second.kept, second.errors) == (61, 31, 30, 1)
    after = rows(tmp_path / "out")
    for name, row in before.items():
        assert {**after[name], "frame_id": 0} == {**row, "frame_id": 0}
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())
    expected = single(golden_bundle, folder, tmp_path / "single")
    check(tmp_path / "out", expected, tmp_path / "single", {"b/broken.png"})


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_changes_nothing(
    golden_bundle: Path, tmp_path: Path, pictures: Write, single: Single
) -> None:
    folder = pictures(tmp_path / "images", 200)
    killed: list[int] = []

    def kill(done: int, _: int) -> None:
        if 0 < done < 150 and not killed:
            process = workers()[0]
            process.kill()
            killed.append(process.pid)

    summary = score(golden_bundle, folder, tmp_path / "out", raw=True, progress=kill)
    assert killed
    assert (summary.scored, summary.errors) == (201, 1)
    check(tmp_path / "out", single(golden_bundle, folder, tmp_path / "single"), tmp_path / "single", {"b/broken.png"})


class Poisoned(Scorer):
    """Dies at one image, as of a fault in a library below; leaves a half-written file behind."""

    def _row(self, item: Item, *, killer: bool) -> dict[str, Any]:
        if item.name.endswith("0007.png") and not killer:
            (self._out / "masks" / ".x.png.0123456789ab.tmp").write_bytes(b"half")
            os._exit(1)
        return super()._row(item, killer=killer)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_image_that_kills_workers_is_an_error_and_no_end(
    golden_bundle: Path, tmp_path: Path, pictures: Write, single: Single
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = pictures(tmp_path / "images", 12)
    summary = score(golden_bundle, folder, tmp_path / "out", raw=True, worker=Poisoned)
    assert (summary.scored, summary.errors, summary.retried) == (13, 2, 1)
    assert "workers died at this image" in rows(tmp_path / "out")["b/0007.png"]["error"]
    expected = single(golden_bundle, folder, tmp_path / "single")
    check(tmp_path / "out", expected, tmp_path / "single", {"b/broken.png", "b/0007.png"})


class Unable(Scorer):
    """A worker that finds no engine, or no disk."""

    def __call__(self, batch: Any) -> Any:
        if batch.column("index")[0].as_py() >= 4:
            self._fatal = "worker on there: no disk"
        return super().__call__(batch)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_cannot_work_ends_the_job_and_keeps_what_is_done(
    golden_bundle: Path, tmp_path: Path, pictures: Write
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = pictures(tmp_path / "images", 20)
    with pytest.raises(EngineError, match="worker on there: no disk"):
        score(golden_bundle, folder, tmp_path / "out", workers=1, worker=Unable)
    done = pq.read_table(tmp_path / "out" / "results.parquet").column("name").to_pylist()
    assert done == ["a/0000.png", "a/0003.png", "a/0006.png", "a/0009.png"]
    with pytest.raises(EngineError, match="worker on "):  # of the probe, before any work
        score(golden_bundle, folder, tmp_path / "other", variant=None, backend="onnxruntime-cuda", gpus=0)


@pytest.mark.usefixtures("cluster")
def test_what_the_cluster_has_no_room_for_is_refused(golden_bundle: Path, tmp_path: Path, pictures: Write) -> None:
    folder = pictures(tmp_path / "images", 1)
    for options in ({"workers": 3}, {"workers": 1, "threads": 3}, {"workers": 1, "gpus": 100.0}):
        with pytest.raises(InputError, match="the cluster has 2 cores"):
            score(golden_bundle, folder, tmp_path / "out", **options)


DRIVER = """
import json, sys, time
from dataclasses import asdict
from diffad_runtime.scale import score_on_ray
slow = lambda done, total: (print(done, flush=True), time.sleep(0.05))
summary = score_on_ray(*sys.argv[1:4], workers=1, batch=2, variant="int8", raw=True, progress=slow)
print(json.dumps({**asdict(summary), "results": ""}), flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_an_output_that_a_later_job_goes_on_with(
    golden_bundle: Path, tmp_path: Path, pictures: Write
) -> None:
    """A cluster of the job's own, in a process group of its own, to which Ctrl-C goes as from a terminal."""
    folder = pictures(tmp_path / "images", 150)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(golden_bundle), str(folder), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert driver.stdout is not None
    done = 0
    while done < 20:
        done = int(driver.stdout.readline())
    os.killpg(driver.pid, signal.SIGINT)
    said, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    summary = json.loads(said.splitlines()[-1])
    assert summary["interrupted"]
    table = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert 20 <= len(table) == summary["scored"] < 151
    assert all((tmp_path / "out" / row["mask_path"]).is_file() for row in table if row["verdict"] != "ERROR")
    assert not list((tmp_path / "out").rglob(".*.tmp*"))
    assert [process for process in psutil.process_iter(["cmdline"]) if f"_{driver.pid}/" in str(process.info)] == []


def test_bad_input_is_told_before_anything_starts(golden_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError):
        score(golden_bundle, tmp_path / "images", tmp_path / "out")
    write_png(tmp_path / "images" / "a.png", np.zeros((8, 8, 3), np.uint8))
    for options in ({"workers": 0}, {"threads": 0}, {"batch": 0}, {"backend": "none"}, {"variant": "none"}):
        with pytest.raises(InputError):
            score_on_ray(golden_bundle, tmp_path / "images", tmp_path / "out", **options)
    with pytest.raises(InputError, match="does not exist"):
        score(tmp_path / "none.diffad", tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["ray.data", "pyarrow.parquet"])
def test_without_ray_it_says_how_to_get_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[scale\]"):
        (packages.load_ray if missing == "ray.data" else packages.load_arrow)()

"""`diffad-edge run` as a process of its own: how it is ended, watched, fed with recipes, and left without a disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LINE = "synthetic://line?fps=20&size=96&defects=0.2"


class Run:
    """A running command and what it has said so far."""

    def __init__(self, folder: Path, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "diffad_edge", *map(str, arguments)],
                stdout=out,
                stderr=err,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
            )

    @property
    def said(self) -> str:
        return self._err.read_text()

    def wait_for(self, true: Callable[[], object], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> tuple[int, float]:
        start = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(20)
        return code, time.monotonic() - start

    def summary(self) -> dict[str, object]:
        return json.loads(self._out.read_text().splitlines()[-1])  # type: ignore[no-any-return]


@pytest.fixture
def begin(golden_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(camera: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> Run:
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        given = ("run", golden_bundle, "--camera", camera, "--json", *arguments)
        runs.append(Run(folder, *given, environment=environment))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_within_five_seconds(
    begin: Callable[..., Run], tmp_path: Path, number: signal.Signals
) -> None:
    run = begin(LINE, "--results", tmp_path / "r.jsonl", "--masks", tmp_path / "masks")
    run.wait_for(lambda: len(_lines(tmp_path / "r.jsonl")) >= 5)
    code, seconds = run.end(number)
    assert (code, seconds < 5) == (0, True), run.said
    summary = run.summary()
    assert summary["stopped"] is True
    assert summary["interrupted"] is (number == signal.SIGINT)
    assert summary["frames"] == len(_lines(tmp_path / "r.jsonl"))
    assert summary["errors"] == 0


@pytest.mark.parametrize(
    "fault", ['kind = "hang"\nlength = 60.0', 'kind = "silence"\nlength = 60.0', 'kind = "freeze"\nlength = 60.0']
)
def test_it_ends_as_soon_while_the_camera_is_ill(begin: Callable[..., Run], tmp_path: Path, fault: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text(f"[[fault]]\nat = 0.5\n{fault}\n")
    run = begin(
        f"chaos://?size=64&pictures=3&script={script}",
        *("--camera-limit", "stall_s=0.5", "--camera-limit", "frozen_s=0.5", "--camera-limit", "reopen_s=1"),
    )
    run.wait_for(lambda: " is stalled" in run.said)
    code, seconds = run.end(signal.SIGTERM)
    assert (code, seconds < 5) == (0, True), run.said
    assert "Traceback" not in run.said


def test_a_restart_goes_on_with_the_results(begin: Callable[..., Run], tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    first = begin(LINE, "--results", results)
    first.wait_for(lambda: len(_lines(results)) >= 3)
    assert first.end(signal.SIGTERM)[0] == 0
    before = results.read_text()
    second = begin(LINE, "--results", results, "--max-frames", "3")
    assert second.process.wait(30) == 0
    assert results.read_text().startswith(before)
    assert len(_lines(results)) == len(before.splitlines()) + 3


def test_prometheus_and_health(begin: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra [metrics] is not installed")
    run = begin(LINE, "--metrics", "127.0.0.1:0", "--results", tmp_path / "r.jsonl")
    run.wait_for(lambda: re.search(r"http://127.0.0.1:\d+", run.said) and len(_lines(tmp_path / "r.jsonl")) > 5)
    found = re.search(r"http://127.0.0.1:\d+", run.said)
    assert found
    page = urllib.request.urlopen(f"{found[0]}/metrics", timeout=5).read().decode()
    judged = sum(float(count) for count in re.findall(r"^diffad_verdicts_total\{.*\} ([\d.e+]+)$", page, re.MULTILINE))
    assert judged >= 5
    assert re.search(r'^diffad_source_state\{.*"streaming".*\} 1.0$', page, re.MULTILINE)
    health = json.load(urllib.request.urlopen(f"{found[0]}/healthz", timeout=5))
    assert health["healthy"] is True
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{found[0]}/nothing", timeout=5)
    assert run.end(signal.SIGTERM)[0] == 0


def test_a_recipe_is_edited_while_it_runs(begin: Callable[..., Run], tmp_path: Path) -> None:
    """First a threshold that nothing reaches, then one that everything does; in between one that is no recipe."""
    recipes, results = tmp_path / "recipes", tmp_path / "r.jsonl"
    recipes.mkdir()
    recipe = 'version = 1\nname = "plate"\n[[regions]]\nname = "all"\nimage_threshold = {}\n'

    def write(text: str) -> None:
        (tmp_path / "next").write_text(text)
        (tmp_path / "next").replace(recipes / "plate.toml")

    write(recipe.format(1e6))
    run = begin(LINE, "--recipe", recipes, "--results", results)
    run.wait_for(lambda: len(_lines(results)) >= 3)
    assert {line["verdict"] for line in _lines(results)} == {"OK"}
    write("version = 1\nname = ")
    run.wait_for(lambda: "plate.toml" in run.said)
    assert _lines(results)[-1]["verdict"] == "OK"
    write(recipe.format(-1e6))
    run.wait_for(lambda: _lines(results)[-1]["verdict"] == "NG")
    assert run.end(signal.SIGTERM)[0] == 0
    lines = _lines(results)
    verdicts = [line["verdict"] for line in lines]
    assert verdicts == sorted(verdicts, reverse=True)  # OK up to one frame, NG from there on
    assert {line["recipe"] for line in lines} == {"plate"}
    assert lines[-1]["regions"][0]["region"] == "all"  # type: ignore[index]


def test_a_disk_that_fills_does_not_stop_the_inspection(begin: Callable[..., Run], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (disk / "of-somebody-else").write_bytes(bytes(39 << 19))
        places = ("--archive", disk / "archive", "--masks", disk / "masks", "--results", disk / "r" / "results.jsonl")
        line = "synthetic://line?fps=60&size=256&defects=0.5&count=120"
        run = begin(line, *places, "--overlay", disk / "overlay.avi", "--archive-ok", "1")
        assert run.process.wait(120) == 1, run.said  # a sink failed, and that is said
        summary = run.summary()
        assert summary["errors"] == 0
        assert summary["frames"] + summary["dropped"] == 120  # type: ignore[operator]
        assert summary["frames"] > 40  # type: ignore[operator]
        failed = {fault["sink"].split(" in ")[0]: fault for fault in summary["sink_faults"]}  # type: ignore[attr-defined]
        assert "archive" in failed
        assert "Traceback" not in run.said
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_what_was_archived_is_judged_the_same_again(golden_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    line = "synthetic://line?fps=0&size=96&defects=0.5&count=12"
    first = Run(tmp_path, "run", golden_bundle, "--camera", line, "--archive", archive, "--archive-ok", "1", "--json")
    assert first.process.wait(60) == 0, first.said
    again = Run(tmp_path, "replay", golden_bundle, archive, "--json")
    assert again.process.wait(60) == 0, again.said
    report = again.summary()
    assert (report["same"], report["compared"], report["identical"]) == (True, 12, 12)
    picture = next(archive.rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:-9])
    spoilt = Run(tmp_path, "replay", golden_bundle, archive, "--json")
    assert spoilt.process.wait(60) == 3
    assert spoilt.summary()["same"] is False
    assert picture.name in spoilt.said

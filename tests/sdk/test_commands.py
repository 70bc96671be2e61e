"""Commands on the real command line, on a real bundle: what they write, print and leave with."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diffad_runtime.imagefile import read_mask

COMMAND = [sys.executable, "-m", "diffad_edge"]
LATENCY_KEYS = {"p50", "p95", "p99"}


def cli(*arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1], parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert isinstance(record, dict)
    return record


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two grey parts and one, "[red] bad.png", with a white square at rows 32-63, columns 64-95 of 128 x 128."""
    folder = tmp_path / "parts"
    (folder / "good").mkdir(parents=True)
    grey = np.full((128, 128, 3), 128, np.uint8)
    for name in ("good/0.png", "good/1.png"):
        cv2.imwrite(str(folder / name), grey)
    grey[32:64, 64:96] = 255
    cv2.imwrite(str(folder / "[red] bad.png"), grey)
    return folder


def test_run_writes_masks_results_and_overlays(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    done = cli(
        "run", tiny_bundle, "--camera", f"dir://{parts}", "--masks", tmp_path / "m", "--results", tmp_path / "r.jsonl",
        "--overlay", tmp_path / "o", "--threads", 1, "--variant", "second", "--json",
    )  # fmt: skip
    record = last_json(done)
    assert (record["frames"], record["ng"], record["errors"]) == (3, 1, 0)
    assert (record["variant"], record["backend"], record["problems"]) == ("second", "onnxruntime", [])
    assert record["latency_ms"].keys() == LATENCY_KEYS
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {line["name"]: line["verdict"] for line in lines} == {
        "[red] bad.png": "NG",
        "good/0.png": "OK",
        "good/1.png": "OK",
    }
    mask = read_mask(tmp_path / "m" / "[red] bad.png")
    assert mask.shape == (128, 128)
    inside = mask[36:60, 68:92]
    assert inside.min() == 255
    assert mask[:24].max() == mask[72:].max() == 0
    assert read_mask(tmp_path / "m" / "good" / "0.png").max() == 0
    assert len(list((tmp_path / "o").rglob("*.jpg"))) == 3


def test_run_prints_a_summary_and_takes_no_more_than_asked(tiny_bundle: Path) -> None:
    done = cli("run", tiny_bundle, "--camera", "synthetic://line?fps=0", "--max-frames", 3)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("engine: onnxruntime, variant 'fp32' (")
    facts = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in done.stdout.splitlines()}
    assert facts["frames"] == "3"
    assert facts["engine"] == "onnxruntime, variant fp32"
    assert {"NG", "rate", "latency"} <= facts.keys()


def test_ctrl_c_ends_a_camera_cleanly_with_its_summary(tiny_bundle: Path, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    camera = "synthetic://line?fps=50"
    with subprocess.Popen(
        [*COMMAND, "run", str(tiny_bundle), "--camera", camera, "--results", str(results), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (results.exists() and results.stat().st_size):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=30)
    assert running.returncode == 0, out + error
    record = json.loads(out.splitlines()[-1])
    assert record["interrupted"] is True
    assert record["frames"] == len(results.read_text().splitlines()) > 0
    assert all(line.startswith(("engine: ", "warning: the bundle has no golden")) for line in error.splitlines())


def test_on_a_terminal_one_line_moves(tiny_bundle: Path) -> None:
    screen, terminal = pty.openpty()
    camera = "synthetic://line?fps=40&count=30"
    done = subprocess.run(
        [*COMMAND, "run", str(tiny_bundle), "--camera", camera],
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=False,
        timeout=60,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(terminal)
    shown = os.read(screen, 1 << 16).decode()
    os.close(screen)
    assert done.returncode == 0
    assert "frames" in shown
    assert "FPS" in shown
    assert "p95" in shown


def test_score_writes_raw_maps_and_ranks_the_worst(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    record = last_json(cli("score", tiny_bundle, parts, "--out", tmp_path / "out", "--raw", "--json"))
    assert record["frames"] == 3
    assert record["worst"][0]["name"] == "[red] bad.png"
    assert [row["score"] for row in record["worst"]] == sorted((row["score"] for row in record["worst"]), reverse=True)
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == [
        "masks/[red] bad.png",
        "masks/good/0.png",
        "masks/good/1.png",
        "raw/[red] bad.png.npy",
        "raw/good/0.png.npy",
        "raw/good/1.png.npy",
        "results.jsonl",
    ]
    raw = np.load(tmp_path / "out" / "raw" / "[red] bad.png.npy", allow_pickle=False)
    assert (raw.dtype, raw.shape) == (np.float32, (128, 128))
    assert raw[48, 80] == pytest.approx(10, abs=1e-4)
    # white = 1 in [-1, 1]: 10 * mean of ones
    assert record["worst"][0]["score"] == pytest.approx(10, abs=1e-4)


def test_score_prints_names_as_they_are(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    done = cli("score", tiny_bundle, parts, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "[red] bad.png" in done.stdout
    assert not (tmp_path / "out" / "raw").exists()


def test_bench_json_has_the_promised_keys(tiny_bundle: Path) -> None:
    record = last_json(cli("bench", tiny_bundle, "--frames", 3, "--frame-size", "160x120", "--threads", 1, "--json"))
    assert record["frame_size"] == [120, 160]
    assert set(record["variants"]) == {"fp32", "second"}
    for timing in (record, record["variants"]["second"]):
        assert timing["frames_per_second"] > 0
        assert timing["latency_ms"].keys() == LATENCY_KEYS
        assert all(stage.keys() == LATENCY_KEYS for stage in timing["stages"].values())
        assert timing["peak_rss_mb"] > 10
        assert timing["backend"] == "onnxruntime"
    assert (record["variant"], record["variants"]["second"]["variant"]) == ("fp32", "second")


def test_bench_profiles_every_graph(tiny_bundle: Path) -> None:
    arguments = ("bench", tiny_bundle, "--frames", 1, "--frame-size", "input", "--variants", "fp32", "--threads", 1)
    record = last_json(cli(*arguments, "--profile", "--json"))
    assert list(record["profile"]["variants"]) == ["fp32"]
    assert list(record["profile"]["variants"]["fp32"]) == ["extractor", "reconstructor"]
    done = cli(*arguments, "--profile")
    for words in ("Where the time goes", "fp32, reconstructor", "peak INT8", "GOP/s", "wall time"):
        assert words in " ".join(done.stdout.split()), words


def test_bench_table_compares_with_the_default(tiny_bundle: Path) -> None:
    done = cli("bench", tiny_bundle, "--frames", 2, "--frame-size", "input", "--variants", "second,fp32")
    assert done.returncode == 0, done.stderr
    assert "1x" in done.stdout
    assert "slower" in done.stdout or "faster" in done.stdout
    assert "2 of 64 x 64" in done.stdout


def test_inspect_json_is_the_manifest_and_words_hold_the_facts(tiny_bundle: Path) -> None:
    record = last_json(cli("inspect", tiny_bundle, "--json"))
    assert record["model_id"] == "tiny"
    assert record["thresholds"]["image"] == 2.0
    done = cli("inspect", tiny_bundle)
    assert done.returncode == 0, done.stderr
    for words in ("tiny, version 1", "64 x 64", "second", "5.00% asked for", "config.preset: [hand] made"):
        assert words in done.stdout


def test_doctor_json_agrees_with_its_exit_code() -> None:
    done = cli("doctor", "--json")
    record = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if record["ok"] else 1)
    assert {"python", "onnxruntime", "opencv"} <= {finding["name"] for finding in record["findings"]}
    assert record["ok"] == all(finding["status"] != "fail" for finding in record["findings"])


def test_version() -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout.strip().count(".")) == (0, 2)

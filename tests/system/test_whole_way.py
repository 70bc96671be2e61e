"""The whole way by the real command line: pictures, train, export, run, score, eval, bench, inspect, doctor, demo.

Every step takes up what the step before it wrote. The setting is tiny: what is checked is that all parts fit together
and what they leave, not how well a model of a few seconds sees.
"""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diffad_runtime.imagefile import read_mask
from diffad_runtime.result import Result
from diffad_runtime.synthetic import LineConfig, write_mvtec

METRICS = {"aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max", "images"}
PERCENTILES = {"p50", "p95", "p99"}
FRAME = 96


def cli(*arguments: str | Path | float) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "diffad_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, f"{arguments[0]} left with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cli_json(*arguments: str | Path | float) -> dict[str, Any]:
    last = cli(*arguments, "--json").splitlines()[-1]
    record = json.loads(last, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert isinstance(record, dict)
    return record


@dataclass(frozen=True)
class Way:
    """Where things lie, and what train and export said."""

    data: Path
    run: Path
    bundle: Path
    trained: dict[str, Any]
    exported: dict[str, Any]


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    root = tmp_path_factory.mktemp("way")
    data, run, bundle = root / "plates", root / "run", root / "model.diffad"
    write_mvtec(data, LineConfig(size=FRAME), train_good=30, test_good=5, test_per_kind=2)
    trained = cli_json("train", "--data", data, "--out", run, "--size", 64, "--max-minutes", 0.05, "--device", "cpu")
    exported = cli_json(
        "export", run, "--data", data, "--out", bundle, "--width", 16, "--max-minutes", 0.1,
        "--max-aupro-drop", 0.5, "--false-reject-rate", 0.2, "--device", "cpu",
    )  # fmt: skip
    return Way(data, run, bundle, trained, exported)


def test_train_and_export_say_what_they_made(way: Way) -> None:
    assert way.trained["run"] == str(way.run)
    assert way.trained["steps"] >= 1
    assert way.trained["good_images"] == {"plates": 30}
    assert 4 <= way.trained["held_back"]["plates"] <= 10
    assert way.exported["bundle"] == str(way.bundle)
    assert set(way.exported["variants"]) == {"fp32", "fp16", "int8", "int8-trt", "int8-fp16-trt"}
    assert way.exported["parity"]["variants"]["fp32"]["flips"] == 0
    assert way.exported["size_mb"] * 1e6 == pytest.approx(way.bundle.stat().st_size)


def test_a_run_is_resumed_by_the_command(way: Way) -> None:
    again = cli_json(
        "train", "--data", way.data, "--out", way.run, "--size", 64, "--max-minutes", 0.06, "--resume",
        "--device", "cpu",
    )  # fmt: skip
    assert again["steps"] >= way.trained["steps"]
    assert again["parameters"] == way.trained["parameters"]


def test_run_writes_a_mask_and_a_line_for_every_frame(way: Way, tmp_path: Path) -> None:
    record = cli_json(
        "run", way.bundle, "--camera", f"synthetic://line?fps=0&defects=0.5&size={FRAME}&seed=9&count=8",
        "--masks", tmp_path / "masks", "--results", tmp_path / "r.jsonl", "--overlay", tmp_path / "overlay",
    )  # fmt: skip
    assert (record["frames"], record["errors"], record["dropped"]) == (8, 0, 0)
    assert record["variant"] == "int8"
    assert record["latency_ms"].keys() == PERCENTILES
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    fields = {field.name for field in dataclasses.fields(Result)} - {"mask", "anomaly_map"}
    assert [line["frame_id"] for line in lines] == list(range(8))
    for line in lines:
        assert fields | {"mask_path", "mask_pixels", "anomaly_max"} == line.keys()
        assert line["verdict"] == ("NG" if line["score"] > line["image_threshold"] else "OK")
        assert line["bundle_digest"] == way.exported["digest"]
        assert line["latency_ms"].keys() == {"resize", "extract", "reconstruct", "mask", "total"}
        mask = read_mask(Path(line["mask_path"]))
        assert mask.shape == (FRAME, FRAME)
        assert int((mask == 255).sum()) == line["mask_pixels"]
        assert set(np.unique(mask)) <= {0, 255}
    assert sum(line["verdict"] == "NG" for line in lines) == record["ng"]
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 8
    assert len(list((tmp_path / "overlay").rglob("*.jpg"))) == 8


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_two_processes_give_bit_equal_maps(way: Way, variant: str, tmp_path: Path) -> None:
    """And the maps lie beside their image's name, in its own size."""
    for name in ("a", "b"):
        cli("score", way.bundle, way.data / "test", "--out", tmp_path / name, "--raw", "--variant", variant)
    images = sorted(p.relative_to(way.data / "test") for p in (way.data / "test").rglob("*.png"))
    assert len(images) == 5 + 8
    for image in images:
        first, second = (tmp_path / name / "raw" / f"{image}.npy" for name in ("a", "b"))
        raw = np.load(first, allow_pickle=False)
        assert (raw.shape, raw.dtype) == ((FRAME, FRAME), np.float32)
        assert np.isfinite(raw).all()
        assert first.read_bytes() == second.read_bytes()
        assert (tmp_path / "a" / "masks" / image).is_file()
    lines = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == sorted(str(image) for image in images)


def test_score_and_the_masks_follow_from_the_raw_maps(way: Way, tmp_path: Path) -> None:
    record = cli_json("score", way.bundle, way.data / "test", "--out", tmp_path, "--raw")
    assert record["frames"] == 13
    assert record["worst"][0]["score"] >= record["worst"][-1]["score"]
    for raw in (tmp_path / "raw").rglob("*.npy"):
        mask = read_mask(tmp_path / "masks" / raw.relative_to(tmp_path / "raw").with_suffix(""))
        hot = np.load(raw) > np.float32(record["pixel_threshold"])
        assert np.count_nonzero(hot != (mask == 255)) <= 0.01 * hot.size


def test_eval_measures_everybody_and_writes_a_report(way: Way, tmp_path: Path) -> None:
    record = cli_json(
        "eval", way.bundle, "--data", way.data, "--out", tmp_path / "report", "--teacher", way.run,
        "--references", "padim,patchcore",
    )  # fmt: skip
    assert list(record["models"]) == ["student int8", "student fp32", "teacher", "PaDiM", "PatchCore"]
    for model in [record, *record["models"].values()]:
        assert model["macro"].keys() == model["classes"]["plates"].keys() == METRICS
        assert model["macro"]["images"] == 13
        assert all(0 <= value <= 1 for key, value in model["macro"].items() if key != "images")
    assert record["models"]["PaDiM"]["macro"]["pixel_auroc"] > 0.6
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert record["report"] == str(tmp_path / "report" / "index.html")
    assert all(name in page for name in record["models"])
    pictures = list((tmp_path / "report").rglob("*.png"))
    assert len(pictures) >= 8
    for picture in pictures:
        assert picture.relative_to(tmp_path / "report").as_posix() in page
        image = cv2.imread(str(picture))
        assert image is not None
        assert min(image.shape[:2]) >= 32


def test_bench_times_every_variant_and_the_teacher(way: Way) -> None:
    record = cli_json("bench", way.bundle, "--frames", 3, "--frame-size", "input", "--teacher", way.run)
    assert record["latency_ms"].keys() == PERCENTILES
    assert {"resize", "extract", "reconstruct", "mask"} <= record["stages"].keys()
    assert all(stage.keys() == PERCENTILES for stage in record["stages"].values())
    assert record["frames_per_second"] > 0
    assert record["peak_rss_mb"] > 20
    assert (record["backend"], record["variant"]) == ("onnxruntime", "int8")
    assert "teacher, 3 calls, torch" in json.dumps(record)


def test_inspect_and_doctor(way: Way) -> None:
    manifest = cli_json("inspect", way.bundle)
    assert (manifest["model_id"], manifest["input_size"]) == ("plates-64", 64)
    assert manifest["thresholds"]["image"] == way.exported["thresholds"]["image"]
    record = cli_json("doctor")
    assert record["ok"] is True
    assert all(finding.keys() == {"name", "status", "detail", "mend"} for finding in record["findings"])


@pytest.mark.slow
def test_demo_leaves_bundle_masks_and_report(tmp_path: Path) -> None:
    from diffad_export.demo import DemoSettings, demo
    from diffad_runtime.errors import InputError

    tiny = DemoSettings(
        size=64, frame_size=96, train_good=24, test_good=4, test_per_kind=1, teacher_steps=6, student_steps=20,
        teacher_minutes=1.0, student_minutes=1.0, stream_frames=4, bench_rounds=2, max_aupro_drop=1.0,
    )  # fmt: skip
    out, told = tmp_path / "demo", list[str]()
    summary = demo(out, settings=tiny, say=told.append)
    assert [line[:3] for line in told] == [f"{n}/6" for n in range(1, 7)]
    assert summary.bundle == out / "model.diffad"
    assert summary.bundle.is_file()
    assert len(list((out / "masks").rglob("*.png"))) == 4
    assert len((out / "results.jsonl").read_text().splitlines()) == 4
    assert len(list((out / "overlay").rglob("*.jpg"))) == 4
    assert summary.report == out / "report" / "index.html"
    assert len(list((out / "report").rglob("*.png"))) >= 6
    assert list(summary.evaluation.classes[0].models) == [
        "student int8", "student fp32", "teacher", "PaDiM", "PatchCore",
    ]  # fmt: skip
    json.dumps(summary.to_json(), allow_nan=False)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not empty, and no demo made it"):
        demo(other, settings=tiny)
    assert (other / "thesis.txt").read_text() == "years of work"

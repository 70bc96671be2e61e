"""Every example, run as its first lines say, on a real bundle."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diffad_runtime.imagefile import read_mask

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = [
    "01_first_mask.py",
    "02_stream.py",
    "03_folder_to_csv.py",
    "04_own_sink.py",
    "05_threshold_sweep.py",
    "06_triggered_station.py",
    "07_usb_camera.py",
    "08_mqtt_station.py",
    "09_opcua_station.py",
    "10_recipe_and_roi.py",
    "11_after_a_lamp_change.py",
    "12_asyncio_controller.py",
    "13_batch_over_archive.py",
]
LINE = "synthetic://line?fps=0&defects=0.5&size=96&count=6"


def example(name: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def output(name: str, *arguments: str | Path, folder: Path) -> str:
    done = example(name, *arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test/good with grey parts, test/square with a white square at rows 32-63, columns 64-95 of 128 x 128."""
    root = tmp_path_factory.mktemp("parts")
    for kind in ("good", "square"):
        (root / "test" / kind).mkdir(parents=True)
        for i in range(3):
            image = np.full((128, 128, 3), 128, np.uint8)
            if kind == "square":
                image[32:64, 64:96] = 255
            cv2.imwrite(str(root / "test" / kind / f"{i}.png"), image)
    return root


def test_all_examples_are_here_and_short() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == NAMES
    for name in NAMES:
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60
        assert f"python examples/{name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_without_what_it_needs_an_example_says_how_it_is_called(name: str, tmp_path: Path) -> None:
    done = example(name, "--help", folder=tmp_path)
    assert done.returncode == 1
    assert f"python examples/{name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_first_mask(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    printed = output("01_first_mask.py", golden_bundle, parts / "test" / "square" / "0.png", folder=tmp_path)
    assert printed.startswith("NG  score 10.0")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.shape == (128, 128)
    assert mask[36:60, 68:92].min() == 255
    assert mask[:24].max() == 0
    assert output("01_first_mask.py", golden_bundle, parts / "test" / "good" / "0.png", folder=tmp_path)[:2] == "OK"


def test_stream_rejects_all_that_is_not_ok(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, kind in enumerate(("good", "square", "good")):
        (folder / f"{number}.png").write_bytes((parts / "test" / kind / "0.png").read_bytes())
    printed = output("02_stream.py", golden_bundle, f"dir://{folder}", folder=tmp_path)
    assert re.findall(r"(OK|NG|ERROR) .*\n  -> (pass|reject)", printed) == [
        ("OK", "pass"), ("NG", "reject"), ("OK", "pass"),
    ]  # fmt: skip
    assert printed.splitlines()[-1] == "OK: 2, NG: 1, ERROR: 0"


def test_stream_rejects_what_could_not_be_judged() -> None:
    import importlib.util
    from dataclasses import replace
    from datetime import datetime, timezone

    from diffad_runtime.result import Result, Verdict

    spec = importlib.util.spec_from_file_location("example_02", EXAMPLES / "02_stream.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    empty = np.zeros((2, 2), np.uint8)
    result = Result(
        0, datetime.now(timezone.utc), 0.0, Verdict.OK, empty, empty.astype(np.float32), {}, "", "", "", 1.0, 1.0
    )
    wanted = {Verdict.OK: False, Verdict.NG: True, Verdict.ERROR: True}
    assert {v: module.must_reject(replace(result, verdict=v)) for v in Verdict} == wanted


def test_folder_to_csv(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    assert output("03_folder_to_csv.py", golden_bundle, parts / "test", folder=tmp_path) == "6 pictures in scores.csv\n"
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"]: row["verdict"] for row in rows} == {
        f"{kind}/{i}.png": verdict for kind, verdict in (("good", "OK"), ("square", "NG")) for i in range(3)
    }
    assert all((float(row["score"]) > float(row["threshold"])) == (row["verdict"] == "NG") for row in rows)
    assert all((int(row["marked_pixels"]) > 0) == (row["verdict"] == "NG") for row in rows)
    assert not list(tmp_path.glob("*.part"))


def test_own_sink(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    printed = output("04_own_sink.py", golden_bundle, f"dir://{parts / 'test'}", folder=tmp_path)
    assert printed.startswith("6 parts, 3 pictures in rejects")
    kept = sorted(path.name for path in (tmp_path / "rejects").iterdir())
    assert len(kept) == 3
    assert all(re.fullmatch(r"00000\d_10\.\d\d\.png", name) for name in kept)
    image = cv2.imread(str(tmp_path / "rejects" / kept[0]))
    assert image is not None
    assert image[40, 80].tolist() == [255, 255, 255]


def test_threshold_sweep(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    printed = output("05_threshold_sweep.py", golden_bundle, parts, folder=tmp_path)
    assert printed.startswith("3 good and 3 defective pictures")
    rows = [line.split() for line in printed.splitlines()[3:]]
    (shipped,) = [row for row in rows if row[-1] == "shipped"]
    assert shipped[:3] == ["2.000", "0.0%", "0.0%"]
    missed, rejected = ([float(row[column].rstrip("%")) for row in rows] for column in (1, 2))
    assert missed == sorted(missed)
    assert rejected == sorted(rejected, reverse=True)
    assert missed[-1] == 100


def test_triggered_station(golden_bundle: Path, tmp_path: Path) -> None:
    printed = output("06_triggered_station.py", golden_bundle, "synthetic://line?fps=20&size=96", folder=tmp_path)
    lines = printed.splitlines()
    assert len(lines) == 13
    for number, line in enumerate(lines[:12]):
        assert re.match(rf"part {number} +(OK +-> pass|NG +-> reject|ERROR +-> reject) ", line), line
    assert sum("ERROR" in line for line in lines[:12]) <= 2  # a machine that is busy
    assert lines[12].startswith("too soon: no picture came within")


def test_usb_camera(golden_bundle: Path, tmp_path: Path) -> None:
    line = "synthetic://line?fps=20&size=96&count=8&defects=0.5"
    printed = output("07_usb_camera.py", golden_bundle, line, "20", folder=tmp_path).splitlines()
    assert len(printed) == 8
    assert all(re.match(r"(OK|NG|ERROR) +score +\d+\.\d+  (streaming|ended)", row) for row in printed)
    pictures = sorted(path.name for path in (tmp_path / "looks").iterdir())
    assert pictures == [f"{number:02d}.png" for number in range(8)]


def _port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_mqtt_station(golden_bundle: Path, tmp_path: Path) -> None:
    mqtt = pytest.importorskip("paho.mqtt.client", reason="the extra [line] is not installed")
    broker = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if broker is None:
        pytest.skip("mosquitto is not installed")
    port, told, listening = _port(), list[dict[str, Any]](), threading.Event()
    (tmp_path / "broker").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    quiet = subprocess.DEVNULL
    with subprocess.Popen([broker, "-c", str(tmp_path / "broker")], stdout=quiet, stderr=quiet) as serving:
        try:
            arguments = [str(golden_bundle), f"127.0.0.1:{port}", "synthetic://line?fps=20&size=96", "3"]
            running = subprocess.Popen(
                [sys.executable, str(EXAMPLES / "08_mqtt_station.py"), *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
            client.on_subscribe = lambda *_: listening.set()
            client.on_message = lambda _client, _data, message: told.append(json.loads(message.payload))
            assert running.stdout is not None
            assert running.stdout.readline() == "ready for triggers\n"
            client.connect("127.0.0.1", port)
            client.loop_start()
            client.subscribe("diffad/plant-1/press-3/left/result", 1)
            assert listening.wait(10)
            for number in range(3):
                message = json.dumps({"job_id": f"job {number}", "deadline_ms": 5000})
                client.publish("diffad/plant-1/press-3/left/trigger", message, qos=1)
                time.sleep(0.2)
            printed = running.communicate(timeout=60)[0]
            client.loop_stop()
        finally:
            running.kill()
            serving.kill()
    assert running.returncode == 0, printed
    assert re.findall(r"job (\d) +(?:OK|NG|ERROR)", printed) == ["0", "1", "2"]
    assert [one["job_id"] for one in told] == ["job 0", "job 1", "job 2"]
    assert printed.splitlines()[-1].startswith("3 verdicts sent, 0 wait")


def test_opcua_station(golden_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("asyncua", reason="the extra [line] is not installed")
    done = example(
        "09_opcua_station.py", golden_bundle, "synthetic://line?fps=20&size=96", str(_port()), folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"part (\d) Verdict (OK|NG|ERROR) Reject (True|False) Code \d+ Score", done.stdout)
    assert [number for number, _, _ in told] == list("01234")
    assert all((verdict == "OK") == (reject == "False") for _, verdict, reject in told)


def test_recipe_and_roi(golden_bundle: Path, parts: Path, tmp_path: Path) -> None:
    square = parts / "test" / "square" / "0.png"  # columns 64-95 of 128: in the right half
    printed = output("10_recipe_and_roi.py", golden_bundle, square, folder=tmp_path)
    assert printed.startswith("NG  by the recipe 'plate'")
    assert re.search(r"left +OK .*\n +right +NG ", printed)
    assert "defect in right: box (6" in printed
    recipe = tmp_path / "recipes" / "plate.toml"
    recipe.write_text(
        recipe.read_text().replace("[[0.9, 0.9], [1, 0.9], [1, 1], [0.9, 1]]", "[[0.4, 0], [1, 0], [1, 1]]")
    )
    edited = output("10_recipe_and_roi.py", golden_bundle, square, folder=tmp_path)
    assert edited != printed


def test_after_a_lamp_change(golden_bundle: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for number in range(12):  # darker than what the bundle takes for good
        image = np.full((96, 96, 3), 70 - number % 6, np.uint8)
        image[: 4 + number] += 2
        cv2.imwrite(str(good / f"{number}.png"), image)
    printed = output("11_after_a_lamp_change.py", golden_bundle, good, tmp_path / "new.diffad", folder=tmp_path)
    lines = printed.splitlines()
    assert lines[0] == "before: 12 of 12 good parts rejected"
    assert re.fullmatch(r"after:  [01] of 12", lines[1])
    assert lines[2].startswith("threshold 2.000 -> ")
    assert re.match(r"version (\d+) -> (\d+)", lines[3])


def test_asyncio_controller(golden_bundle: Path, tmp_path: Path) -> None:
    printed = output("12_asyncio_controller.py", golden_bundle, "synthetic://line?fps=30&size=96", folder=tmp_path)
    lines = printed.splitlines()
    assert [line.split()[1] for line in lines[:15]] == [str(number) for number in range(15)]
    assert sum("ERROR" in line for line in lines) <= 2  # a machine that is busy
    beats = re.fullmatch(r"15 parts, (\d+) beats of the lamp", lines[15])
    assert beats is not None
    assert int(beats.group(1)) > 15


def test_batch_over_archive(golden_bundle: Path, tmp_path: Path) -> None:
    from diffad_runtime.archive.sink import ImageArchive
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.sources import open_source

    source = open_source("synthetic://line?fps=0&size=96&count=6&defects=0.5")
    with Inspector.open(golden_bundle, image_threshold=1e-6) as strict, source, ImageArchive(tmp_path / "kept") as kept:
        for frame in source:
            kept.write(frame, strict.judge(frame))
    printed = output("13_batch_over_archive.py", golden_bundle, tmp_path / "kept", folder=tmp_path)
    counts = {(was, now): int(n) for was, now, n in re.findall(r"(\w+) +-> (\w+) +(\d+)", printed)}
    assert sum(counts.values()) == 6
    with (tmp_path / "changed.csv").open(newline="", encoding="utf-8") as file:
        changed = list(csv.DictReader(file))
    assert len(changed) == sum(n for (was, now), n in counts.items() if was != now)
    assert all(row["was"] != row["is"] for row in changed)


@pytest.mark.parametrize("name", ["02_stream.py", "04_own_sink.py"])
def test_examples_run_on_the_synthetic_line_and_a_trained_bundle(name: str, tiny_export, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert output(name, tiny_export.bundle, LINE, folder=tmp_path)

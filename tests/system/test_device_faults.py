"""What goes wrong with engines on a device: what the user sees, and that nothing half-written stays.

The cases, and the real commands that are run, are in docs/device_faults.py, which makes the table of docs/jetson.md.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "device_faults.py"


@pytest.fixture(scope="module")
def seen(golden_bundle: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(golden_bundle), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


CASES = [
    ("no TensorRT on this machine", 1, r"^error: TensorRT is not installed: .*--system-site-packages", 0),
    ("no GPU answers", 1, r"^error: no GPU answers: .*--runtime nvidia", 0),
    ("engine of another TensorRT under our name", 0, r"built anew: built by another TensorRT or for another GPU", 2),
    ("TensorRT was updated", 0, r"^building the engine extractor\.fp16", 4),
    ("truncated engine", 0, r"built anew: it has \d+ bytes, its side file says \d+", 2),
    ("one bit of an engine changed", 0, r"built anew: its SHA-256 is not the one", 2),
    (
        "TensorRT takes back no engine at all",
        1,
        r"^error: extractor\.fp16: the engine that was just built cannot be",
        0,
    ),
    ("cache cannot be written to", 0, r"^warning: the engine cache .* engines are kept in .*--cache DIR", 0),
    ("disk full while `run` keeps an engine", 0, r"^warning: .* could not be kept, .*No space left on device", 0),
    ("disk full while `build` keeps an engine", 1, r"^error: engines of fp16 were built, but could not be kept", 0),
    ("parser error", 1, r"^error: extractor\.fp16: the parser refuses /unet/mid/Resize \(Resize\)", 0),
    ("builder out of memory", 1, r"ran out of memory \(700 MiB were free.*multi-user\.target", 0),
    ("too little memory to begin", 1, r"^error: extractor\.fp16: only 300 MiB of memory are free", 0),
    ("Ctrl-C while building", 130, r"^interrupted$", 0),
    ("a kernel crashes at the start", 1, r"^error: the GPU failed to .*Restart the program", 2),
]


@pytest.mark.parametrize(("name", "code", "line", "engines"), CASES, ids=[case[0] for case in CASES])
def test_what_is_seen_and_what_is_left(seen: dict[str, Any], name: str, code: int, line: str, engines: int) -> None:
    if name not in seen:
        assert os.geteuid() != 0
        pytest.skip("only root can mount a small disk")
    one = seen[name]
    assert one["code"] == code, one
    assert any(re.search(line, said) for said in one["lines"]), one["lines"]
    plans = {left for left in one["left"] if left.endswith(".plan")}
    assert len(plans) == engines
    assert {left for left in one["left"] if left.startswith("engines/") and left.endswith(".json")} == {
        plan.removesuffix(".plan") + ".json" for plan in plans
    }
    assert not [left for left in one["left"] if ".tmp" in left]


def test_an_engine_that_judges_otherwise_is_refused(seen: dict[str, Any]) -> None:
    """The made bundle has one pair of graphs behind all names, so all are refused in turn."""
    lines = seen["an engine judges otherwise than torch"]["lines"]
    tried = [
        re.search(r"next: variant '([^']+)'", line) for line in lines if "does not judge the golden frames" in line
    ]
    assert [found[1] for found in tried if found] == ["int8-trt", "fp16", "fp32"]
    assert lines[-1].startswith("error: variant 'fp32' on tensorrt does not judge")


def test_every_case_is_looked_at(seen: dict[str, Any]) -> None:
    assert set(seen) <= {name for name, *_ in CASES} | {"an engine judges otherwise than torch"}

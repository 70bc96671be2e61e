"""SIGKILL at random moments, by docs/kill_models.py: a short run of what is run at length by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "kill_models.py"


def test_no_start_is_broken(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra [trust] is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "--rounds", "20", "--folder", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == []
    assert told["broken_starts"] == done.returncode == 0
    assert told["rounds"] == 20
    # It was at work when it was killed, and not always between two operations.
    assert sum(told["done"].values()) > 15
    assert told["cut_short"].get("between two", 0) < 18

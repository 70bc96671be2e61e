"""onnxruntime reports nothing to anybody unless the user asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import {module}
import onnxruntime
onnxruntime.InferenceSession
"""


def left_in(home: Path, code: str, **environment: str) -> list[str]:
    """What a process leaves in a home of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("module", ["diffad_runtime", "diffad_edge.cli", "diffad_calibration.precision.variants"])
def test_no_file_is_left(tmp_path: Path, module: str) -> None:
    assert left_in(tmp_path / "home", CODE.format(module=module)) == []


def test_who_wants_it_may_have_it() -> None:
    code = "import os, diffad_runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "0"

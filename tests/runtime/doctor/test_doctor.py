"""The whole examination: on this machine, on made Jetsons, and on machines where something is broken."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffad_runtime import doctor
from diffad_runtime.doctor import Finding, examine

EVERYWHERE = {"python", "processor", "memory", "disk", "cache folder", "onnxruntime", "opencv", "tensorrt"}


def test_doctor_finds_and_mends(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = {finding.name: finding for finding in examine()}
    assert set(findings) >= EVERYWHERE
    assert {"opencv GStreamer", "opencv FFMPEG", "cuda driver", "pycuda", "cameras", "export extra"} <= set(findings)
    assert all(finding.detail and finding.mend for finding in findings.values())
    assert all(finding.status in {"ok", "warn", "fail"} for finding in findings.values())
    assert findings["onnxruntime"].status == "ok"
    json.dumps([finding.to_json() for finding in findings.values()])
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    broken = {finding.name: finding for finding in examine()}["cache folder"]
    assert "/proc/none/diffad-edge" in broken.detail


def test_elsewhere_nothing_of_a_jetson_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Simulated packages of other tests may still be loaded.
    for name in [name for name in sys.modules if name.partition(".")[0] in {"pycuda", "tensorrt"}]:
        monkeypatch.delitem(sys.modules, name)
    findings = {finding.name: finding for finding in examine(tmp_path)}
    assert findings["jetson"].status == "ok"
    assert not {"jetpack", "power mode", "clocks", "csi cameras", "virtual environment"} & set(findings)
    # what this machine has not, a machine without a GPU need not have; of TensorRT one line is a warning
    assert {findings[name].status for name in ("cuda driver", "pycuda", "opencv GStreamer")} == {"ok"}


@pytest.mark.parametrize("board", ["orin_nano", "thor"])
def test_on_a_jetson_its_own_findings_come_first(board: str, request: pytest.FixtureRequest) -> None:
    findings = examine(request.getfixturevalue(board))
    names = [finding.name for finding in findings]
    assert names[:3] == ["jetpack", "power mode", "clocks"]
    assert {"csi cameras", "cuda-bindings", "virtual environment"} | EVERYWHERE <= set(names)
    assert len(set(names)) == len(names)
    assert not [finding for finding in findings if "could not be looked at" in finding.detail]


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_at_moon(_: Path) -> Iterator[Finding]:
        yield Finding("moon", "ok", "there", "No action")
        raise ZeroDivisionError("odd\nmachine")

    monkeypatch.setattr(doctor, "_CHECKS", (look_at_moon,))
    seen, broken = examine()
    assert seen.name == "moon"
    assert (broken.name, broken.status) == ("moon", "warn")
    assert "ZeroDivisionError: odd machine" in broken.detail


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("sys.modules['cv2'] = None", "OpenCV is not installed"),
        ("broken('numpy.core.multiarray failed to import')", "built against numpy 1"),
        ("broken('libGL.so.1: cannot open shared object file')", "OpenCV cannot be loaded: libGL.so.1"),
    ],
)
def test_without_opencv_the_doctor_still_runs_and_says_so(how: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("import sys\nprint('a page of text', file=sys.stderr)\nraise ImportError(TEXT)\n")
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c"),
            f"""
import builtins, sys
def broken(text):
    builtins.TEXT = text
    sys.path.insert(0, {str(tmp_path)!r})
{how}
sys.argv = ["diffad-edge", "doctor"]
from diffad_edge.cli import main
main()
""",
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.count("\nfail ") + done.stdout.startswith("fail ") == 1
    assert done.stderr.startswith("error: the product does not run here: opencv: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_heavy_is_loaded() -> None:
    code = """
import sys
from diffad_runtime.doctor import examine
assert not {"cv2", "onnxruntime", "tensorrt", "pycuda"} & set(sys.modules)
examine()
assert not {"torch", "onnx", "matplotlib", "pycuda.autoinit"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

"""OpenCV by stand-ins, and cameras on made machines: each status."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from diffad_runtime.doctor.finding import Finding
from diffad_runtime.doctor.imaging import look_at_cameras, look_at_opencv

BOTH = "  Video I/O:\n    FFMPEG:                      YES\n    GStreamer:                   YES (1.20.3)\n"
NEITHER = "  Video I/O:\n    FFMPEG:                      NO\n    GStreamer:                   NO\n"
SYSTEM = "/usr/lib/python3.10/dist-packages/cv2/__init__.py"


def opencv(monkeypatch: pytest.MonkeyPatch, root: Path, build: str, file: str = SYSTEM) -> dict[str, Finding]:
    fake = ModuleType("cv2")
    fake.__dict__.update(__version__="4.8.0", __file__=file, getBuildInformation=lambda: build)
    monkeypatch.setitem(sys.modules, "cv2", fake)
    return {finding.name: finding for finding in look_at_opencv(root)}


def test_jetpacks_own(orin_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opencv(monkeypatch, orin_nano, BOTH)
    assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(
        ("opencv", "opencv GStreamer", "opencv FFMPEG"), "ok"
    )
    assert found["opencv"].detail == "4.8.0 in /usr/lib/python3.10/dist-packages/cv2"


def test_a_wheel_that_hides_jetpacks_own(orin_nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "opencv_python_headless-4.11.0.86.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: 4.11.0.86\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = opencv(monkeypatch, orin_nano, NEITHER, str(tmp_path / "site/cv2/__init__.py"))
    assert found["opencv"].status == "warn"
    assert f"opencv-python-headless 4.11.0.86 in {tmp_path / 'site'}" in found["opencv"].detail
    assert "pip uninstall -y opencv-python-headless" in found["opencv"].mend
    assert "nvidia-opencv" in found["opencv GStreamer"].mend
    assert found["opencv GStreamer"].status == "warn"
    # a wheel in another folder than the OpenCV that loads hides nothing
    assert opencv(monkeypatch, orin_nano, BOTH, "/opt/cv2/__init__.py")["opencv"].status == "ok"


def test_elsewhere_gstreamer_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opencv(monkeypatch, tmp_path, NEITHER)
    assert {name: finding.status for name, finding in found.items()} == {
        "opencv": "ok", "opencv GStreamer": "ok", "opencv FFMPEG": "warn"
    }  # fmt: skip
    assert "opencv-python-headless" in found["opencv FFMPEG"].mend


@pytest.mark.parametrize(
    ("code", "words", "mend"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import')", "built against numpy 1", "'numpy>=1.26,<2'"),
        ("raise AttributeError('_ARRAY_API not found')", "built against numpy 1", "'numpy>=1.26,<2'"),
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1", "nvidia-opencv"),
        ("raise KeyError('odd')", "KeyError", "nvidia-opencv"),
    ],
)
def test_one_that_does_not_load(
    code: str, words: str, mend: str, orin_nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "cv2.py").write_text(f"import sys\nprint('a page of text', file=sys.stderr)\n{code}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2")
    (found,) = look_at_opencv(orin_nano)
    assert (found.status, words in found.detail, mend in found.mend) == ("fail", True, True), found
    assert {"auto", "tensorrt"} <= set(found.stops)
    assert capsys.readouterr().err == ""


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    (found,) = look_at_opencv(tmp_path)
    assert (found.status, "not installed" in found.detail) == ("fail", True)
    assert "'diffad-edge[opencv]'" in found.mend


def cameras(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in look_at_cameras(root)}


def test_cameras_of_a_jetson(orin_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.status for finding in cameras(orin_nano).values()} == {"ok"}
    (orin_nano / "tmp/argus_socket").unlink()
    found = cameras(orin_nano)["csi cameras"]
    assert (found.status, "nvargus-daemon" in found.mend, "-v /tmp/argus_socket" in found.mend) == ("warn", True, True)
    next(orin_nano.glob("usr/lib/*/gstreamer-1.0/*")).unlink()
    found = cameras(orin_nano)["csi cameras"]
    assert (found.status, "nvidia-l4t-gstreamer" in found.mend) == ("warn", True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = cameras(orin_nano)["cameras"]
    assert (found.status, "usermod -aG video" in found.mend) == ("fail", True)


def test_no_cameras(tmp_path: Path) -> None:
    assert {name: finding.status for name, finding in cameras(tmp_path).items()} == {"cameras": "warn"}

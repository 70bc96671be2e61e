"""ONNX Runtime and TensorRT as stand-ins: present, missing, broken, too old, too new, hidden by a wheel."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffad_runtime.doctor.engines import look_at_onnxruntime, look_at_tensorrt
from diffad_runtime.doctor.finding import Finding

SYSTEM = "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py"
ELSEWHERE = Path("/nowhere")


def module(name: str, **values: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(values)
    return made


def onnxruntime(monkeypatch: pytest.MonkeyPatch, *providers: str) -> Finding:
    fake = module("onnxruntime", __version__="1.23.0", get_available_providers=lambda: list(providers))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (found,) = look_at_onnxruntime(ELSEWHERE)
    return found


def test_onnxruntime_and_what_it_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    found = onnxruntime(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    assert (found.status, found.stops) == ("ok", ("onnxruntime-tensorrt",))
    found = onnxruntime(monkeypatch, "CPUExecutionProvider")
    assert (found.status, found.stops) == ("ok", ("onnxruntime-cuda", "onnxruntime-tensorrt"))
    assert onnxruntime(monkeypatch, "AzureExecutionProvider").status == "fail"


def test_no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (found,) = look_at_onnxruntime(ELSEWHERE)
    assert (found.status, "pip install onnxruntime" in found.mend) == ("fail", True)
    assert "auto" in found.stops
    assert "tensorrt" not in found.stops


def test_a_broken_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise AttributeError('_ARRAY_API not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    (found,) = look_at_onnxruntime(ELSEWHERE)
    assert (found.status, "_ARRAY_API" in found.detail) == ("fail", True)


def tensorrt(monkeypatch: pytest.MonkeyPatch, root: Path, version: str, file: str = SYSTEM) -> Finding:
    monkeypatch.setitem(sys.modules, "tensorrt", module("tensorrt", __version__=version, __file__=file))
    (found,) = look_at_tensorrt(root)
    return found


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("8.6.2", "warn", "too old, expected 10.3"),
        ("10.3.0", "ok", "system package"),
        ("10.16.1.11", "ok", "system package"),
        ("11.4.1", "ok", "system package"),
        ("11.5.0", "warn", "newer than this release"),
    ],
)
def test_versions_of_tensorrt(version: str, status: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tensorrt(monkeypatch, ELSEWHERE, version)
    assert (found.status, words in found.detail) == (status, True), found
    assert found.stops == (("tensorrt",) if "old" in words else ())


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    (found,) = look_at_tensorrt(ELSEWHERE)
    assert (found.status, found.stops) == ("warn", ("tensorrt",))
    assert "python3-libnvinfer" in found.mend


def test_jetpacks_own(orin_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tensorrt(monkeypatch, orin_nano, "10.3.0").status == "ok"


def test_a_wheel_that_hides_jetpacks_own(orin_nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "tensorrt_cu12_bindings-10.7.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt_cu12_bindings\nVersion: 10.7.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = tensorrt(monkeypatch, orin_nano, "10.7.0", str(tmp_path / "site/tensorrt/__init__.py"))
    assert found.status == "warn"
    assert f"tensorrt-cu12-bindings 10.7.0 in {tmp_path / 'site'}" in found.detail
    assert "pip uninstall -y tensorrt-cu12-bindings" in found.mend
    # also where JetPack's own is what loads: the libraries of a wheel may come before those that it needs
    assert tensorrt(monkeypatch, orin_nano, "10.3.0").status == "warn"
    # elsewhere than on a Jetson a wheel is what one installs
    assert tensorrt(monkeypatch, ELSEWHERE, "10.7.0", str(tmp_path / "site/tensorrt/__init__.py")).status == "ok"


def test_one_of_unknown_origin(orin_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tensorrt(monkeypatch, orin_nano, "10.3.0", "/opt/tensorrt/__init__.py")
    assert (found.status, "not a system package" in found.detail) == ("warn", True)

"""CUDA's driver, toolkit, pycuda and cuda-bindings by stand-ins and made folders: each status."""

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from diffad_runtime.doctor import gpu
from diffad_runtime.doctor.finding import ON_GPU, Finding


class CudaError(Exception):
    """pycuda.driver.Error."""


def pycuda(monkeypatch: pytest.MonkeyPatch, *, count: int = 1, error: str = "", version: int = 12060) -> None:
    """Put a pycuda in place that knows facts only: asked for anything else, it raises AttributeError."""

    def init() -> None:
        if error:
            raise CudaError(error)

    device = SimpleNamespace(name=lambda: "Orin", compute_capability=lambda: (8, 7))
    driver = ModuleType("pycuda.driver")
    driver.__dict__.update(
        init=init,
        Error=CudaError,
        get_driver_version=lambda: version,
        Device=type("Device", (), {"__new__": lambda _, __: device, "count": staticmethod(lambda: count)}),
    )
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)


def without_pycuda(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str = "") -> None:
    """pycuda missing, or one that cannot be loaded for the reason `text`."""
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if not text:
        monkeypatch.setitem(sys.modules, "pycuda", None)
        return
    (folder / "pycuda").mkdir()
    (folder / "pycuda/__init__.py").write_text("")
    (folder / "pycuda/driver.py").write_text(f"raise ImportError({text!r})\n")
    monkeypatch.syspath_prepend(str(folder))


def seen(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in gpu.look_at_gpu(root)}


@pytest.fixture(autouse=True)
def _no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)


def test_a_gpu_that_answers(orin_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pycuda(monkeypatch)
    found = seen(orin_nano)
    assert found["cuda driver"] == Finding("cuda driver", "ok", "Orin, compute capability 8.7, CUDA 12.6", "No action")
    assert found["pycuda"].status == "ok"
    # once pycuda is built, its compiler may go
    assert "cuda toolkit" not in found


@pytest.mark.parametrize(("count", "error"), [(0, ""), (1, "cuInit failed: no CUDA-capable device is detected")])
def test_a_gpu_that_does_not_answer(count: int, error: str, thor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pycuda(monkeypatch, count=count, error=error)
    found = seen(thor)["cuda driver"]
    assert (found.status, found.stops) == ("warn", ON_GPU)
    assert (error or "CUDA finds no GPU") in found.detail
    assert "--runtime nvidia" in found.mend


def test_no_permission(orin_nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    monkeypatch.setattr(os, "access", lambda path, _: "nvmap" not in str(path))
    found = seen(orin_nano)["cuda driver"]
    assert (found.status, found.stops) == ("warn", ON_GPU)
    assert "/dev/nvmap" in found.detail
    assert "igpu0" not in found.detail
    assert "usermod -aG video,render" in found.mend


def test_devices_alone_tell_no_more(orin_nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    found = seen(orin_nano)
    assert found["cuda driver"].status == "ok"
    assert "540.4.0" in found["cuda driver"].detail
    assert (found["pycuda"].status, found["pycuda"].stops) == ("warn", ("tensorrt",))


def test_a_container_without_the_gpu(orin_nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    shutil.rmtree(orin_nano / "dev")
    found = seen(orin_nano)["cuda driver"]
    assert (found.status, "--runtime nvidia" in found.mend) == ("warn", True)


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    found = seen(tmp_path)
    assert {name: finding.status for name, finding in found.items()} == {"cuda driver": "ok", "pycuda": "ok"}
    assert (found["cuda driver"].stops, found["pycuda"].stops) == (ON_GPU, ("tensorrt",))


def test_the_compiler_of_pycuda(orin_nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    folder = orin_nano / "usr/local/cuda/bin"
    found = seen(orin_nano)
    assert found["cuda toolkit"].status == "warn"
    assert found["cuda toolkit"].mend.startswith(f"Run: export PATH={folder}:$PATH")
    assert f"export PATH={folder}:$PATH; pip install 'diffad-edge[jetson]'" in found["pycuda"].mend
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/local/cuda/bin/nvcc")
    found = seen(orin_nano)
    assert (found["cuda toolkit"].status, found["cuda toolkit"].detail) == (
        "ok",
        "/usr/local/cuda/bin/nvcc, CUDA 12.6.68",
    )
    assert "PATH" not in found["pycuda"].mend


def test_no_compiler(thor: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path)
    found = seen(thor)["cuda toolkit"]
    assert (found.status, "nvidia-jetpack" in found.mend) == ("warn", True)


@pytest.mark.parametrize("text", ["libcurand.so.10: cannot open shared object file", "numpy.core.multiarray failed"])
def test_a_broken_pycuda(text: str, orin_nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pycuda(monkeypatch, tmp_path, text)
    found = seen(orin_nano)["pycuda"]
    assert (found.status, found.stops) == ("warn", ("tensorrt",))
    assert text in found.detail
    assert "--force-reinstall" in found.mend


@pytest.mark.parametrize(
    ("installed", "driver", "status", "words"),
    [
        ("", 12060, "warn", "not installed"),
        ("12.9.4", 12060, "ok", "12.9.4"),
        ("13.0.1", 12060, "warn", "made for another CUDA than 12.6"),
        ("13.0.1", 13020, "ok", "13.0.1"),
        ("12.9.4", 13000, "warn", "another CUDA than 13.0"),
    ],
)
def test_cuda_bindings_fit_the_driver(
    installed: str, driver: int, status: str, words: str, orin_nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pycuda(monkeypatch, version=driver)
    monkeypatch.setattr(gpu, "version_of", lambda name: installed if name == "cuda-bindings" else "2026.1")
    found = seen(orin_nano)["cuda-bindings"]
    assert (found.status, words in found.detail) == (status, True), found
    if status == "warn":
        assert f"cuda-bindings=={driver // 1000}.*" in found.mend


def test_cuda_bindings_by_the_toolkit_or_by_jetpack(
    orin_nano: Path, thor: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_pycuda(monkeypatch, tmp_path)
    monkeypatch.setattr(gpu, "version_of", lambda _: "")
    assert "cuda-bindings==12.*" in seen(orin_nano)["cuda-bindings"].mend
    assert "cuda-bindings==13.*" in seen(thor)["cuda-bindings"].mend
    (orin_nano / "usr/local/cuda/version.json").write_text('{"cuda": {"version": "13.2.1"}}')
    assert "cuda-bindings==13.*" in seen(orin_nano)["cuda-bindings"].mend
    (orin_nano / "usr/local/cuda/version.json").write_text("[damaged")
    assert "cuda-bindings==12.*" in seen(orin_nano)["cuda-bindings"].mend

"""ONNX Runtime and TensorRT: whether they load, which they are, and whether they are JetPack's.

Knows versions and where wheels lie. Does not ask the GPU (gpu.py).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffad_runtime.doctor.finding import ON_ONNXRUNTIME, Finding, fail, ok, warn
from diffad_runtime.doctor.packages import of_system, uninstall, wheels
from diffad_runtime.errors import EngineError
from diffad_runtime.jetson import is_jetson
from diffad_runtime.tensorrt.library import OLDEST, load_tensorrt, numbers, version_of

NEWEST = (11, 4)
"""The newest TensorRT whose names this code was held against."""

_WHEELS = re.compile(r"tensorrt(-(cu\d+|lean|dispatch|bindings|libs))*")
_PROVIDERS = {"CUDAExecutionProvider": "onnxruntime-cuda", "TensorrtExecutionProvider": "onnxruntime-tensorrt"}


def look_at_onnxruntime(_: Path) -> Iterator[Finding]:
    """Whether it loads, and what it was built with."""
    try:
        import onnxruntime  # noqa: PLC0415  may be missing or broken, which is what is to be found out
    except Exception as error:  # one that was built for another numpy does not always raise ImportError
        said = " ".join(str(error).split())[:200]
        yield fail("onnxruntime", f"cannot be imported: {said}", "Run: pip install onnxruntime", stops=ON_ONNXRUNTIME)
        return
    providers = onnxruntime.get_available_providers()
    found = f"{onnxruntime.__version__}, {', '.join(providers)}"
    if "CPUExecutionProvider" not in providers:
        again = "Run: pip install --force-reinstall onnxruntime"
        yield fail("onnxruntime", found, again, stops=ON_ONNXRUNTIME)
        return
    yield ok(
        "onnxruntime",
        found,
        "For a GPU, install onnxruntime-gpu in place of onnxruntime, on a Jetson NVIDIA's own wheel for its JetPack",
        stops=tuple(backend for provider, backend in _PROVIDERS.items() if provider not in providers),
    )


def look_at_tensorrt(root: Path) -> Iterator[Finding]:
    """Whether it loads, whether this code was written for it, and on a Jetson whether it is JetPack's."""
    try:
        trt = load_tensorrt()
    except EngineError as error:
        # Only this line is a warning where TensorRT cannot be: a CPU does without, slowly.
        yield warn("tensorrt", error.what, error.mend, stops=("tensorrt",))
        return
    yield _on_jetson(trt) if is_jetson(root) else _fit(trt)


def _on_jetson(trt: Any) -> Finding:
    hiding = wheels(_WHEELS)
    if of_system(_file(trt)) and not hiding:
        return _fit(trt)
    found = f"{version_of(trt)} in {Path(_file(trt)).parent}"
    if not hiding:
        return warn(
            "tensorrt",
            f"{found} is not a system package",
            "JetPack's own is the one made for this board: sudo apt install python3-libnvinfer, and see what else "
            "brings a Python module tensorrt",
        )
    return warn(
        "tensorrt",
        f"{found}; a wheel of pip hides JetPack's own: {'; '.join(map(str, hiding))}",
        f"Run: {uninstall(hiding)}; then sudo apt install python3-libnvinfer, and a virtual environment with "
        "--system-site-packages",
    )


def _fit(trt: Any) -> Finding:
    version = version_of(trt)
    found = f"{version}, {'system package' if of_system(_file(trt)) else Path(_file(trt)).parent}"
    if numbers(version)[:2] > NEWEST:
        oldest, newest = (".".join(map(str, each)) for each in (OLDEST, NEWEST))
        return warn(
            "tensorrt",
            f"{found}: newer than this release of diffad-edge knows, {oldest} to {newest}",
            "Look whether a newer release of diffad-edge names it; if 'diffad-edge build' works, all is well",
        )
    return ok("tensorrt", found)


def _file(module: Any) -> str:
    return str(getattr(module, "__file__", None) or "")

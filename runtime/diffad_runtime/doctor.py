"""What is wrong with this machine, and the mend for each finding.

Knows what the product needs around it. Does not know bundles or models. Optional packages such as torch are looked for,
never loaded.
"""

import ctypes.util
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import cv2

from diffad_runtime.enginecache.location import cache_folder

Status = Literal["ok", "warn", "fail"]

_EXPORT_MODULES = ("torch", "onnx", "onnxscript", "safetensors", "efficientnet_lite_pytorch", "jinja2", "matplotlib")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: of the thing.
        status: ok: nothing to do; warn: something is slower or missing; fail: the product will not run.
        detail: what was found.
        mend: what to do, also where all is well: then what to do should it matter.
    """

    name: str
    status: Status
    detail: str
    mend: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything, in an order from the ground up. Never raises for what it finds."""
    return [finding for check in _CHECKS for finding in check()]


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 10)
    yield Finding(
        "python",
        "ok" if good else "fail",
        f"{platform.python_version()}, {sys.executable}",
        "No action" if good else "Install Python 3.10 or later",
    )
    if platform.machine() == "aarch64" and sys.prefix != sys.base_prefix:
        config = Path(sys.prefix) / "pyvenv.cfg"
        shared = "include-system-site-packages = true" in _text(config).lower()
        yield Finding(
            "virtual environment",
            "ok" if shared else "warn",
            f"{sys.prefix}, system packages {'visible' if shared else 'hidden'}",
            "No action"
            if shared
            else "JetPack installs TensorRT and OpenCV as system packages: "
            "make the environment with python3 -m venv --system-site-packages",
        )


def _processor() -> Iterator[Finding]:
    flags = set(_text(Path("/proc/cpuinfo")).lower().split())
    dot_product = sorted(flags & {"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(
        "processor",
        "ok" if dot_product else "warn",
        f"{platform.machine()}, {cores} usable cores, INT8 dot products: {', '.join(dot_product) or 'none found'}",
        "No action" if dot_product else "INT8 may be no faster than FP32 here: compare with 'diffad-edge bench'",
    )


def _memory() -> Iterator[Finding]:
    fields = {line.split(":")[0]: line.split() for line in _text(Path("/proc/meminfo")).splitlines() if ":" in line}
    if "MemAvailable" not in fields:
        yield Finding("memory", "warn", "cannot be read on this system", "Check that 1 GiB is free")
        return
    free, total = (int(fields[key][1]) / (1 << 20) for key in ("MemAvailable", "MemTotal"))
    good = free >= 1
    yield Finding(
        "memory",
        "ok" if good else "warn",
        f"{free:.1f} of {total:.1f} GiB free",
        "No action" if good else "Close other programs: 1 GiB should be free",
    )


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    good = free >= 2
    yield Finding(
        "disk",
        "ok" if good else "warn",
        f"{free:.1f} GiB free in {Path.cwd()}",
        "No action" if good else "Make room: 2 GiB should be free for masks and checkpoints",
    )
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    yield Finding(
        "cache folder",
        "ok" if writable else "fail",
        f"{folder}, {'writable' if writable else f'{existing} is not writable'}",
        "No action" if writable else "Set XDG_CACHE_HOME to a folder that you may write to",
    )


def _onnxruntime() -> Iterator[Finding]:
    try:
        import onnxruntime  # noqa: PLC0415  may be missing or broken, which is what is to be found out
    except ImportError as error:
        yield Finding("onnxruntime", "fail", f"cannot be imported: {error}", "Run: pip install onnxruntime")
        return
    providers = onnxruntime.get_available_providers()
    good = "CPUExecutionProvider" in providers
    yield Finding(
        "onnxruntime",
        "ok" if good else "fail",
        f"{onnxruntime.__version__}, {', '.join(providers)}",
        "No action" if good else "Run: pip install --force-reinstall onnxruntime",
    )


def _opencv() -> Iterator[Finding]:
    build = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in cv2.getBuildInformation().splitlines())
    }
    yield Finding("opencv", "ok", cv2.__version__, "No action")
    for name, needed_for, mend in (
        (
            "GStreamer",
            "csi:// cameras",
            "On a Jetson, use the OpenCV of JetPack (system packages); elsewhere not needed",
        ),
        ("FFMPEG", "rtsp://, http:// and video files", "Run: pip install --force-reinstall opencv-python-headless"),
    ):
        good = build.get(name, "NO").upper().startswith("YES")
        yield Finding(
            f"opencv {name}",
            "ok" if good else "warn",
            "built in" if good else f"not built in, needed for {needed_for}",
            "No action" if good else mend,
        )


def _tensorrt() -> Iterator[Finding]:
    missing = [name for name in ("tensorrt", "pycuda") if importlib.util.find_spec(name) is None]
    libraries = "libnvinfer " + ("found" if ctypes.util.find_library("nvinfer") else "not found")
    yield Finding(
        "tensorrt",
        "warn" if missing else "ok",
        f"{'missing: ' + ', '.join(missing) if missing else 'tensorrt and pycuda importable'}; {libraries}",
        "No action"
        if not missing
        else "Needed on a Jetson only: TensorRT comes with JetPack, pycuda with pip install 'diffad-edge[jetson]'",
    )


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(
            "cameras", "warn", "no /dev/video*", "Plug a camera in, or use dir://, file:// or synthetic://line"
        )
        return
    refused = [str(device) for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    yield Finding(
        "cameras",
        "fail" if refused else "ok",
        f"no permission for {', '.join(refused)}" if refused else ", ".join(map(str, devices)),
        "Run: sudo usermod -aG video $USER, then log in again" if refused else "No action",
    )


def _export() -> Iterator[Finding]:
    missing = [name for name in _EXPORT_MODULES if importlib.util.find_spec(name) is None]
    yield Finding(
        "export extra",
        "warn" if missing else "ok",
        f"missing: {', '.join(missing)}" if missing else f"complete, torch {_version('torch')}",
        "Needed for train, export and demo only: pip install 'diffad-edge[export]'" if missing else "No action",
    )


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _processor,
    _memory,
    _disk,
    _onnxruntime,
    _opencv,
    _tensorrt,
    _cameras,
    _export,
)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

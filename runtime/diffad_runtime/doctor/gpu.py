"""CUDA's driver and toolkit, and the two packages that this product reaches them through.

Knows device nodes, versions and how pycuda is built. Asks the driver for facts only; makes no context.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from diffad_runtime.doctor.finding import ON_GPU, Finding, ok, warn
from diffad_runtime.doctor.packages import version_of
from diffad_runtime.jetson import generation_of, is_jetson, l4t_release

_NODES = ("nvidia0", "nvidiactl", "nvgpu/igpu0/ctrl", "nvhost-ctrl-gpu", "nvmap")
"""Of a discrete GPU and Thor, then of Orin."""
_CUDA_OF_JETPACK = {6: "12", 7: "13"}
_GROUPS = "Run: sudo usermod -aG video,render $USER, then log in again"
_RUNTIME = "On a Jetson, install JetPack again; in a container, start it with --runtime nvidia"


@dataclass(frozen=True, slots=True)
class _Driver:
    """What pycuda says of the first GPU; `fault` and nothing else where it says nothing."""

    said: str = ""
    cuda: str = ""
    fault: str = ""


def look_at_gpu(root: Path) -> Iterator[Finding]:
    """Whether a GPU answers, and whether this process could use it."""
    jetson, nodes = is_jetson(root), [root / "dev" / name for name in _NODES if (root / "dev" / name).exists()]
    pycuda, fault = _pycuda()
    driver = _asked(pycuda) if pycuda is not None else _Driver()
    yield _found(root, driver, nodes, jetson=jetson)
    wanted = jetson or bool(nodes)
    compiler = _compiler(root)
    if wanted and pycuda is None:
        yield _toolkit(root, compiler)
    yield _package(pycuda, fault, compiler, wanted=wanted)
    if wanted:
        yield _graphs(
            driver.cuda or _toolkit_version(root) or _CUDA_OF_JETPACK.get(generation_of(l4t_release(root)), "")
        )


def _pycuda() -> tuple[Any, str]:
    """(Its driver module, "") or (None, why not; "": not installed)."""
    try:
        return import_module("pycuda.driver"), ""
    except ModuleNotFoundError as error:
        return None, "" if (error.name or "").startswith("pycuda") else str(error)
    except Exception as error:  # compiled code that does not fit: ImportError, and others by numpy
        return None, " ".join(str(error).split())[:200] or type(error).__name__


def _asked(cuda: Any) -> _Driver:
    try:
        cuda.init()
        if cuda.Device.count() < 1:
            return _Driver(fault="CUDA finds no GPU")
        device, version = cuda.Device(0), int(cuda.get_driver_version())  # 1000 x major + 10 x minor
        speaks = f"{version // 1000}.{version % 1000 // 10}"
        capability = ".".join(map(str, device.compute_capability()))
        return _Driver(f"{device.name()}, compute capability {capability}, CUDA {speaks}", speaks)
    except cuda.Error as error:
        return _Driver(fault=" ".join(str(error).split())[:200] or "no GPU answers")


def _found(root: Path, driver: _Driver, nodes: list[Path], *, jetson: bool) -> Finding:
    if driver.said:
        return ok("cuda driver", driver.said)
    refused = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if refused:
        return warn("cuda driver", f"no permission for {', '.join(refused)}", _GROUPS, stops=ON_GPU)
    if not nodes and not jetson:
        return ok(
            "cuda driver",
            "no NVIDIA GPU, the CPU runs bundles",
            "Install NVIDIA's driver, or run where there is a GPU",
            stops=ON_GPU,
        )
    if not nodes:
        return warn("cuda driver", "no device of the GPU in /dev", _RUNTIME, stops=ON_GPU)
    if driver.fault:
        return warn("cuda driver", f"the GPU is there but does not answer: {driver.fault}", _RUNTIME, stops=ON_GPU)
    version = _text(root / "proc/driver/nvidia/version").partition("\n")[0].strip()
    return ok(
        "cuda driver", f"{nodes[0]} is there{f', {version}' if version else ''}; whether it answers, pycuda would tell"
    )


def _compiler(root: Path) -> str:
    """nvcc on the PATH, or where JetPack puts it; "" where there is none."""
    usual = root / "usr/local/cuda/bin/nvcc"
    return shutil.which("nvcc") or (str(usual) if usual.is_file() else "")


def _toolkit(root: Path, compiler: str) -> Finding:
    version = _toolkit_version(root)
    if not compiler:
        return warn(
            "cuda toolkit",
            "no nvcc, which building pycuda needs",
            "On a Jetson: sudo apt install nvidia-jetpack; elsewhere the package cuda-toolkit",
        )
    found = f"{compiler}{f', CUDA {version}' if version else ''}"
    if shutil.which("nvcc"):
        return ok("cuda toolkit", found)
    folder = Path(compiler).parent
    return warn("cuda toolkit", f"{found} is not on the PATH", f"Run: export PATH={folder}:$PATH, then build pycuda")


def _toolkit_version(root: Path) -> str:
    """Of the toolkit that is installed, as in "12.6.68"; "" where it cannot be read."""
    try:
        return str(json.loads(_text(root / "usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _package(pycuda: Any, fault: str, compiler: str, *, wanted: bool) -> Finding:
    if pycuda is not None:
        return ok("pycuda", version_of("pycuda") or "of unknown version")
    path = "" if shutil.which("nvcc") else f"export PATH={Path(compiler or '/usr/local/cuda/bin/nvcc').parent}:$PATH; "
    if fault:
        return warn(
            "pycuda",
            f"cannot be loaded: {fault}",
            f"Build it again on this device: {path}pip install --force-reinstall --no-deps --no-cache-dir pycuda",
            stops=("tensorrt",),
        )
    say = warn if wanted else ok
    return say(
        "pycuda",
        "not installed, the TensorRT backend needs it",
        f"It is built on this device: {path}pip install 'diffad-edge[jetson]'",
        stops=("tensorrt",),
    )


def _graphs(cuda: str) -> Finding:
    """cuda-bindings: a matter of speed alone."""
    name, version, major = "cuda-bindings", version_of("cuda-bindings"), cuda.partition(".")[0]
    install = f"Run: pip install 'cuda-bindings=={major or '12'}.*'"
    if not version:
        return warn(name, "not installed: TensorRT's kernels are launched one by one, not as a CUDA graph", install)
    if major and version.partition(".")[0] != major:
        return warn(name, f"{version}, made for another CUDA than {cuda}", install)
    return ok(name, version)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""What a model was made with: package versions, processor, time."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "diffad-edge",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
)


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide numbers, and Python's own."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name as the system gives it, with its number of logical cores left to others."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

"""Finds TensorRT's Python bindings.

Knows where they come from and which versions were written for. Does not know what they are used for.
"""

import re
from importlib import import_module
from typing import Any

from diffad_runtime.errors import EngineError

OLDEST = (10, 3)
"""JetPack 6.1's. Before it, tensors had no names in all places and networks were not strongly typed."""

_SYSTEM_PACKAGE = (
    "On a Jetson it comes with JetPack: sudo apt install python3-libnvinfer, "
    "and make the virtual environment with --system-site-packages"
)
_ELSEWHERE = "Without it, ONNX Runtime runs the bundle: --backend onnxruntime, or leave it out"


def load_tensorrt() -> Any:
    """The module tensorrt.

    Raises:
        EngineError: not installed, not loadable, or too old.
    """
    try:
        trt = import_module("tensorrt")
    except ModuleNotFoundError as error:
        missing = error.name or "tensorrt"
        raise EngineError(
            f"TensorRT is not installed: no Python module {missing!r}", mend=f"{_SYSTEM_PACKAGE}. {_ELSEWHERE}"
        ) from error
    except (ImportError, OSError) as error:  # a shared library that is missing or of another version
        raise EngineError(
            f"TensorRT cannot be loaded: {' '.join(str(error).split())[:200]}",
            mend=f"{_SYSTEM_PACKAGE}; 'diffad-edge doctor' looks for wheels that shadow it",
        ) from error
    version = version_of(trt)
    if numbers(version) < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old, expected {'.'.join(map(str, OLDEST))} or later",
            mend="Install JetPack 6.1 or later",
        )
    return trt


def version_of(trt: Any) -> str:
    """As the bindings say it, as in "10.3.0"."""
    return str(getattr(trt, "__version__", "unknown"))


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers, for comparisons: "10.13.3.9.post1" is (10, 13, 3, 9)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()

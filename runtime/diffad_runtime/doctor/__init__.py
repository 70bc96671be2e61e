"""What is wrong with this machine, and the mend for each finding.

Knows what the product needs around it. Does not know bundles or models. Packages that may be missing are looked for,
and loaded only where whether they load is the question; none of them is left with a GPU's context.

    machine      Python, environment, processor, memory, disk, cache folder
    jetsonboard  JetPack, power mode, clocks
    engines      ONNX Runtime, TensorRT
    gpu          CUDA's driver and toolkit, pycuda, cuda-bindings
    imaging      OpenCV, cameras
    workstation  what training needs
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from diffad_runtime.doctor.engines import look_at_onnxruntime, look_at_tensorrt
from diffad_runtime.doctor.finding import Finding, for_backend, warn
from diffad_runtime.doctor.gpu import look_at_gpu
from diffad_runtime.doctor.imaging import look_at_cameras, look_at_opencv
from diffad_runtime.doctor.jetsonboard import look_at_jetson
from diffad_runtime.doctor.machine import look_at_disk, look_at_memory, look_at_processor, look_at_python
from diffad_runtime.doctor.workstation import look_at_export

__all__ = ["Finding", "examine", "for_backend"]

_CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    look_at_jetson,
    look_at_python,
    look_at_processor,
    look_at_memory,
    look_at_disk,
    look_at_opencv,
    look_at_onnxruntime,
    look_at_tensorrt,
    look_at_gpu,
    look_at_cameras,
    look_at_export,
)


def examine(root: Path = Path("/")) -> list[Finding]:
    """Look at everything, in an order from the ground up. Never raises for what it finds.

    Args:
        root: of the file system that a machine's facts are read from; for tests.
    """
    return [finding for check in _CHECKS for finding in _safely(check, root)]


def _safely(check: Callable[[Path], Iterator[Finding]], root: Path) -> Iterator[Finding]:
    try:
        yield from check(root)
    except Exception as error:  # a doctor who dies of a strange machine is of no use on just that machine
        name = check.__name__.removeprefix("look_at_")
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield warn(name, f"could not be looked at: {said}", "Please report this as a fault of diffad-edge")

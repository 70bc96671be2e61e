"""ONNX Runtime's execution providers: which backend names ask for which, with which options.

Knows the providers' names and options. Does not know sessions or graphs. None of those for GPUs is chosen by itself:
they need another build of onnxruntime, and a Jetson has the backend tensorrt.
"""

from dataclasses import dataclass, field
from pathlib import Path

from diffad_runtime.errors import EngineError

CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Provider:
    """What a session is opened with.

    Attributes:
        backend: the name that users give.
        name: onnxruntime's.
        options: of the provider, as texts.
    """

    backend: str = "onnxruntime"
    name: str = CPU
    options: dict[str, str] = field(default_factory=dict)

    def chain(self) -> list[tuple[str, dict[str, str]]]:
        """For onnxruntime.InferenceSession: the provider, and the CPU for nodes that it does not take."""
        return [(self.name, self.options)] + ([] if self.name == CPU else [(CPU, {})])


def available(backend: str) -> str:
    """The library behind a backend, as in "onnxruntime 1.23.0".

    Args:
        backend: "onnxruntime", "onnxruntime-cuda" or "onnxruntime-tensorrt".

    Raises:
        EngineError: onnxruntime cannot be imported, or this build of it does not have the provider.
    """
    try:
        import onnxruntime  # noqa: PLC0415  a slow import, made when used
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported: {error}", mend="Run: pip install --force-reinstall onnxruntime"
        ) from error
    name, there = _NAMES[backend], onnxruntime.get_available_providers()
    if name not in there:
        raise EngineError(
            f"this onnxruntime has no {name}, it has {', '.join(there)}",
            mend="Install onnxruntime-gpu in place of onnxruntime, on a Jetson NVIDIA's own wheel for its JetPack",
        )
    return f"onnxruntime {onnxruntime.__version__}"


def provider_of(backend: str, precision: str, cache: Path) -> Provider:
    """The provider behind a backend's name.

    Args:
        backend: as `available`.
        precision: of the variant, as the manifest says it.
        cache: folder that onnxruntime's TensorRT provider may keep its engines in.
    """
    return Provider(backend, _NAMES[backend], _options(backend, precision, cache))


def _options(backend: str, precision: str, cache: Path) -> dict[str, str]:
    if backend == "onnxruntime-cuda":
        # The FP32 variant is there to be exact; TF32 rounds to ten bits of mantissa.
        return {"use_tf32": "0" if precision == "fp32" else "1"}
    if backend == "onnxruntime-tensorrt":
        folder = str(cache / "onnxruntime-tensorrt")
        return {
            "trt_fp16_enable": str("fp16" in precision),
            "trt_int8_enable": str("int8" in precision),
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        }
    return {}


_NAMES = {
    "onnxruntime": CPU,
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}

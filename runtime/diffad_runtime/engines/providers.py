"""ONNX Runtime's execution providers: which backend names ask for which, with which options.

Knows the providers' names and options. Does not know sessions or graphs. None of those for GPUs is chosen by itself:
they need another build of onnxruntime, and DESIGN's own backend for a Jetson is tensorrt.
"""

from collections.abc import Sequence
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


def provider_of(backend: str, precision: str, cache: Path, available: Sequence[str]) -> Provider:
    """The provider behind a backend's name.

    Args:
        backend: "onnxruntime", "onnxruntime-cuda" or "onnxruntime-tensorrt".
        precision: of the variant, as the manifest says it.
        cache: folder that onnxruntime's TensorRT provider may keep its engines in.
        available: onnxruntime.get_available_providers().

    Raises:
        EngineError: this build of onnxruntime does not have it.
    """
    provider = _PROVIDERS[backend](backend, precision, cache)
    if provider.name not in available:
        raise EngineError(
            f"this onnxruntime has no {provider.name}, it has {', '.join(available)}",
            mend="Install onnxruntime-gpu in place of onnxruntime, on a Jetson NVIDIA's own wheel for its JetPack",
        )
    return provider


def _cpu(backend: str, _precision: str, _cache: Path) -> Provider:
    return Provider(backend)


def _cuda(backend: str, precision: str, _cache: Path) -> Provider:
    # The FP32 variant is there to be exact; TF32 rounds to ten bits of mantissa.
    return Provider(backend, "CUDAExecutionProvider", {"use_tf32": "0" if precision == "fp32" else "1"})


def _tensorrt(backend: str, precision: str, cache: Path) -> Provider:
    folder = str(cache / "onnxruntime-tensorrt")
    return Provider(
        backend,
        "TensorrtExecutionProvider",
        {
            "trt_fp16_enable": str("fp16" in precision),
            "trt_int8_enable": str("int8" in precision),
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        },
    )


_PROVIDERS = {"onnxruntime": _cpu, "onnxruntime-cuda": _cuda, "onnxruntime-tensorrt": _tensorrt}

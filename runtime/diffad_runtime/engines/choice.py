"""Which backend "auto" takes, which variants a backend runs, and in which order they are tried.

Knows what each backend needs and each variant is made for. Does not make an engine (select.py).
"""

from dataclasses import dataclass

from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import DiffadError, InputError

BACKENDS = ("auto", "onnxruntime", "tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt")
"""Names that users give. The last two are onnxruntime's providers, never taken by "auto"."""

_BY_TENSORRT = {"tensorrt", "onnxruntime-tensorrt"}
_FASTEST_FIRST = ("int8-fp16", "int8", "fp16", "fp32")
"""Precisions, as a GPU is expected to like them; which variant is the fastest on one only `bench` on it can say."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend by its own name, never "auto", and why it was taken, for the operator."""

    backend: str
    why: str


def choose(bundle: Bundle, backend: str = "auto", variant: str | None = None) -> Choice:
    """What a backend's name comes down to on this machine.

    "auto" is TensorRT where it can be imported, a GPU answers, and the bundle has something for it; else ONNX Runtime
    on the CPU.

    Args:
        variant: that is to be run; None: any.

    Raises:
        InputError: unknown backend or variant.
    """
    check_backend(backend)
    if variant is not None:
        bundle.variant(variant)
    if backend != "auto":
        return Choice(backend, "as asked for")
    if variant is not None and bundle.variant(variant).target == "cpu":
        return Choice("onnxruntime", f"variant {variant!r} is made for CPUs")
    if not runnable(bundle, "tensorrt"):
        return Choice("onnxruntime", "the bundle has no variant for TensorRT")
    try:
        return Choice("tensorrt", ask("tensorrt"))
    except DiffadError as error:
        return Choice("onnxruntime", error.what)


def ask(backend: str) -> str:
    """What a backend would run on here, as in "TensorRT 10.3.0 on Orin, CUDA 12.6".

    Args:
        backend: one of BACKENDS but "auto".

    Raises:
        EngineError, MissingExtraError: it does not work on this machine, whatever the bundle.
    """
    # Loaded when asked for: each takes its time, and none has to be there.
    if backend == "tensorrt":
        from diffad_runtime.cuda.gpu import open_gpu  # noqa: PLC0415
        from diffad_runtime.tensorrt.library import load_tensorrt, version_of  # noqa: PLC0415

        trt = load_tensorrt()
        facts = open_gpu().facts
        return f"TensorRT {version_of(trt)} on {facts.name}, CUDA {facts.cuda}"
    from diffad_runtime.engines.providers import available  # noqa: PLC0415

    return available(backend)


def runnable(bundle: Bundle, backend: str = "onnxruntime", *, foreign: bool = False) -> list[str]:
    """Variants that a backend runs, in the manifest's order.

    Args:
        backend: as `open_engine`; "auto" is onnxruntime here, which needs no machine to be asked.
        foreign: those too that it computes without being what they are made for.

    Raises:
        InputError: unknown backend.
    """
    check_backend(backend)
    variants = bundle.manifest.variants
    if backend in _BY_TENSORRT:
        return [name for name, variant in variants.items() if variant.target != "cpu"]
    if backend == "onnxruntime-cuda":  # Q/DQ pairs are run in float there, one by one
        return [name for name, variant in variants.items() if variant.target == "any"]
    return [name for name, variant in variants.items() if foreign or variant.target != "tensorrt"]


def suited(bundle: Bundle, backend: str = "onnxruntime") -> list[str]:
    """Those of `runnable` that are worth a look where none is named: FP16 on a CPU is FP32 with casts, and slower.

    Raises:
        InputError: unknown backend.
    """
    names = runnable(bundle, backend)
    if backend not in {"auto", "onnxruntime"}:
        return names
    chosen = bundle.manifest.default_variant
    kept = [name for name in names if bundle.manifest.variants[name].precision != "fp16" or name == chosen]
    return kept or names


def ladder(bundle: Bundle, backend: str) -> list[str]:
    """Variants in the order they are tried, each where the one before it is refused.

    On the CPU the bundle's default comes first; on a GPU the fastest precision, and of two alike the one made for
    TensorRT.

    Raises:
        InputError: unknown backend, or the bundle has nothing for it.
    """
    names, variants = suited(bundle, backend), bundle.manifest.variants
    if not names:
        raise InputError(
            f"no variant of the bundle runs on {backend}, it has {', '.join(variants)}",
            mend="Export the variant fp32 as well, or name another --backend",
        )

    def rank(name: str) -> tuple[bool, int, bool]:
        default = backend == "onnxruntime" and name == bundle.manifest.default_variant
        return not default, _FASTEST_FIRST.index(variants[name].precision), variants[name].target == "any"

    return sorted(names, key=rank)


def check_backend(backend: str) -> None:
    """Raises InputError for a name that is not in BACKENDS."""
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}", mend=f"Name one of {', '.join(BACKENDS)}")

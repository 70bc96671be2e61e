"""Picks the engine for a bundle.

Knows which backends exist and what each needs. Does not know how any of them works.
"""

from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.base import Engine
from diffad_runtime.errors import EngineError, InputError

BACKENDS = ("auto", "onnxruntime", "tensorrt")


def open_engine(
    bundle: Bundle,
    backend: str = "auto",
    variant: str | None = None,
    threads: int | None = None,
    *,
    verbose: bool = False,
    foreign: bool = False,
) -> Engine:
    """Make an engine ready to run.

    Args:
        bundle: verified.
        backend: "onnxruntime", "tensorrt", or "auto": the best that works here, which is onnxruntime in this version.
        variant: of the bundle; None: its default.
        threads: worker threads on the CPU; None: as many as this process may use.
        verbose: let the inference library's warnings through.
        foreign: let onnxruntime run a variant made for TensorRT, for checks of parity and accuracy: it computes the
            same graph, not with the same kernels, and slower. Never for judging parts.

    Raises:
        InputError: unknown backend or variant, or a variant made for another backend and not `foreign`.
        EngineError: the backend is not there, or refuses the graphs.
    """
    _check_backend(backend)
    if backend == "tensorrt":
        raise EngineError(
            "the TensorRT backend is not part of this version", mend="Use --backend onnxruntime, or a later version"
        )
    name = bundle.manifest.default_variant if variant is None else variant
    extractor, reconstructor = bundle.graphs(name)
    if bundle.manifest.variants[name].target == "tensorrt" and not foreign:
        others = runnable(bundle)
        raise InputError(
            f"variant {name!r} is made for TensorRT, not for onnxruntime",
            mend=f"Name one of {', '.join(others)}" if others else "Export the variant fp32 as well",
        )
    try:
        from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415  a slow import, made when used
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported: {error}", mend="Run: pip install --force-reinstall onnxruntime"
        ) from error
    return OnnxRuntimeEngine(
        extractor,
        reconstructor,
        input_size=bundle.manifest.input_size,
        variant=name,
        threads=threads,
        verbose=verbose,
    )


def runnable(bundle: Bundle, backend: str = "auto", *, foreign: bool = False) -> list[str]:
    """Variants that a backend runs, in the manifest's order.

    Args:
        backend: as `open_engine`.
        foreign: those too that it computes without being what they are made for.

    Raises:
        InputError: unknown backend.
    """
    _check_backend(backend)
    variants = bundle.manifest.variants
    if backend == "tensorrt":
        return [name for name, variant in variants.items() if variant.target != "cpu"]
    return [name for name, variant in variants.items() if foreign or variant.target != "tensorrt"]


def suited(bundle: Bundle, backend: str = "auto") -> list[str]:
    """Those of `runnable` that are worth a look where none is named: FP16 on a CPU is FP32 with casts, and slower.

    Raises:
        InputError: unknown backend.
    """
    names = runnable(bundle, backend)
    if backend == "tensorrt":
        return names
    chosen = bundle.manifest.default_variant
    kept = [name for name in names if bundle.manifest.variants[name].precision != "fp16" or name == chosen]
    return kept or names


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}", mend=f"Name one of {', '.join(BACKENDS)}")

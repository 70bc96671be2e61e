"""Makes the engine for a variant of a bundle on a backend.

Knows what each backend is given. Does not know how any of them works, nor which to take (choice.py), nor whether the
engine judges right (startup.py asks that).
"""

from diffad_runtime.bundle import Bundle
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.choice import ask, choose, ladder, runnable
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.errors import InputError


def open_engine(
    bundle: Bundle,
    backend: str = "auto",
    variant: str | None = None,
    threads: int | None = None,
    *,
    verbose: bool = False,
    foreign: bool = False,
    device: OnDevice | None = None,
) -> Engine:
    """Make an engine ready to run. It is not held against golden frames; `startup.start` does that too.

    Args:
        bundle: verified.
        backend: one of choice.BACKENDS; "auto": the best that works here.
        variant: of the bundle; None: the first that the backend would try.
        threads: worker threads on the CPU; None: as many as this process may use.
        verbose: let the inference library's warnings through.
        foreign: let onnxruntime run a variant made for TensorRT, for checks of parity and accuracy: it computes the
            same graph, not with the same kernels, and slower. Never for judging parts. On "auto" such a variant runs
            on TensorRT where that works.
        device: how engines are built and kept; None: in the user's cache folder.

    Raises:
        InputError: unknown backend or variant, or a variant made for another backend and not `foreign`.
        EngineError: the backend is not there, or refuses the graphs.
        MissingExtraError: a package of the backend is not installed.
        KeyboardInterrupt: the device's watcher cancelled a build.
    """
    device = device or OnDevice()
    taken = choose(bundle, backend, variant).backend
    name = ladder(bundle, taken)[0] if variant is None else variant
    check_made_for(bundle, taken, name, foreign=foreign)
    if taken == "tensorrt":
        from diffad_runtime.tensorrt.opening import open_tensorrt  # noqa: PLC0415  loads nothing of TensorRT by itself

        return open_tensorrt(bundle, name, device).engine
    return _onnxruntime(bundle, taken, name, threads, device, verbose=verbose)


def _onnxruntime(
    bundle: Bundle, backend: str, name: str, threads: int | None, device: OnDevice, *, verbose: bool
) -> Engine:
    ask(backend)
    from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415  a slow import, made when used
    from diffad_runtime.engines.providers import provider_of  # noqa: PLC0415

    extractor, reconstructor = bundle.graphs(name)
    return OnnxRuntimeEngine(
        extractor,
        reconstructor,
        input_size=bundle.manifest.input_size,
        variant=name,
        threads=threads,
        provider=provider_of(backend, bundle.variant(name).precision, device.cache or cache_folder()),
        verbose=verbose,
    )


def check_made_for(bundle: Bundle, backend: str, name: str, *, foreign: bool = False) -> None:
    """Raises InputError for an unknown variant, or one that the backend does not run, or even check (`foreign`)."""
    if name in runnable(bundle, backend, foreign=foreign):
        return
    target, others = bundle.variant(name).target, runnable(bundle, backend)
    made_for = {"cpu": "CPUs", "tensorrt": "TensorRT"}.get(target, target)
    raise InputError(
        f"variant {name!r} is made for {made_for}, not for {backend}",
        mend=f"Name one of {', '.join(others)}" if others else "Export the variant fp32 as well",
    )

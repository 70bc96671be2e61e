"""From a bundle to an engine that has shown that it judges right: tried in turn, held against the golden frames.

Knows the order of precisions and when to give up. Does not know how an engine is built, nor who reads the lines.
"""

from dataclasses import dataclass

import numpy as np

from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.choice import Choice, ask, choose, ladder
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.select import open_engine
from diffad_runtime.engines.warmup import claim_memory
from diffad_runtime.errors import DiffadError, EngineError, GateError, MissingExtraError
from diffad_runtime.selfcheck import GoldenCheck, check_golden

_MID_GREY = 128


@dataclass(frozen=True, slots=True)
class Started:
    """An engine that may judge parts.

    Attributes:
        engine: ready, run at least once.
        choice: its backend, and why.
        check: what the golden frames said; None where the bundle has none.
        refused: (variant, backend, reason) of those that were tried before it.
    """

    engine: Engine
    choice: Choice
    check: GoldenCheck | None
    refused: tuple[tuple[str, str, str], ...]


def start(
    bundle: Bundle,
    backend: str = "auto",
    variant: str | None = None,
    threads: int | None = None,
    *,
    device: OnDevice | None = None,
) -> Started:
    """Open an engine and run the golden frames on it; where it is refused, try the next precision, int8 to fp32.

    On TensorRT the order is the one that `build --fastest` measured, where it did. A variant that is named is the only
    one tried. "auto" goes on to ONNX Runtime where TensorRT gives nothing.

    Args:
        bundle, backend, variant, threads, device: as `open_engine`. The device's watcher is told which engine was taken
            and why, and what was refused.

    Raises:
        GateError: the last one tried does not judge the golden frames as torch did.
        EngineError, MissingExtraError: the last one tried cannot be made or fails.
        InputError: unknown backend or variant, or nothing for that backend.
        BundleError: a golden record without the figures that are needed.
        KeyboardInterrupt: the watcher cancelled a build.
    """
    device = device or OnDevice()
    choice = choose(bundle, backend, variant)
    ask(choice.backend)  # what is missing for every variant is said once
    attempts = [(choice, name) for name in ([variant] if variant else _order(bundle, choice.backend, device))]
    if backend == "auto" and choice.backend != "onnxruntime" and variant is None:
        spare = Choice("onnxruntime", f"no variant works on {choice.backend}")
        attempts += [(spare, name) for name in ladder(bundle, spare.backend)]
    refused: list[tuple[str, str, str]] = []
    while True:
        taken, name = attempts.pop(0)
        try:
            engine, check = _tried(bundle, taken.backend, name, threads, device)
        except (EngineError, GateError, MissingExtraError) as error:
            refused.append((name, taken.backend, error.what))
            if not attempts:
                raise
            device.watcher.warn(f"{error.what}; next: variant {attempts[0][1]!r} on {attempts[0][0].backend}")
            continue
        if check is None:
            device.watcher.warn("the bundle has no golden frames, so its answers on this machine were not checked")
        device.watcher.note(f"engine: {taken.backend}, variant {name!r} ({taken.why})")
        return Started(engine, taken, check, tuple(refused))


def _order(bundle: Bundle, backend: str, device: OnDevice) -> list[str]:
    """As the ladder has it, or as `build --fastest` measured it on this device."""
    names = ladder(bundle, backend)
    if backend != "tensorrt":
        return names
    from diffad_runtime.tensorrt.opening import measured_order  # noqa: PLC0415  loads nothing of TensorRT by itself

    measured = [name for name in measured_order(bundle, device) if name in names]
    return measured + [name for name in names if name not in measured]


def _tried(
    bundle: Bundle, backend: str, name: str, threads: int | None, device: OnDevice
) -> tuple[Engine, GoldenCheck | None]:
    engine = open_engine(bundle, backend, name, threads, device=device)
    try:
        if not bundle.has_golden:
            engine.infer(np.full((engine.input_size, engine.input_size, 3), _MID_GREY, np.uint8))
            claim_memory(engine)
            return engine, None
        check = check_golden(bundle, engine)
        check.require()
        claim_memory(engine)
    except (DiffadError, KeyboardInterrupt):
        engine.close()
        raise
    return engine, check

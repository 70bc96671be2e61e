"""Engines of a bundle made ready on this device before a part waits for them: built, checked, timed.

Knows the order of variants and what is reported. Does not know how an engine is built or kept.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.choice import ask, ladder
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.select import check_made_for
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.latency import StageRecorders
from diffad_runtime.selfcheck import GoldenCheck, check_golden
from diffad_runtime.tensorrt.opening import open_tensorrt

_WARM_UP, _TIMED = 10, 50
_BACKEND = "tensorrt"


@dataclass(frozen=True, slots=True)
class EngineMade:
    """One network of a variant.

    Attributes:
        name: as in "reconstructor.fp16".
        plan_bytes: size of its plan.
        build_s: seconds that building took; None where it lay in the cache.
        lost: why it could not be kept in the cache, else "".
    """

    name: str
    plan_bytes: int
    build_s: float | None
    lost: str


@dataclass(frozen=True, slots=True)
class VariantMade:
    """One variant on this device.

    Attributes:
        variant: its name.
        engines: both networks; none where it could not be made.
        check: what the golden frames said; None where there was nothing to run.
        reason: why it must not be used, "" where it may.
        recorded: launched as CUDA graphs.
        latency_ms: {"extract", "reconstruct", "total": {"p50", "p95", "p99"}}: GPU times of both networks, and the
            call from an image of the input size to the map. {} where it was not timed.
    """

    variant: str
    engines: tuple[EngineMade, ...]
    check: GoldenCheck | None
    reason: str
    recorded: bool
    latency_ms: dict[str, dict[str, float]]

    @property
    def lost(self) -> str:
        """Why one of its engines could not be kept, "" where all are."""
        return next((engine.lost for engine in self.engines if engine.lost), "")

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "ok": not self.reason,
            "reason": self.reason,
            "engines": [
                {"name": one.name, "plan_bytes": one.plan_bytes, "build_s": one.build_s, "lost": one.lost}
                for one in self.engines
            ],
            "golden": None if self.check is None else self.check.to_dict(),
            "cuda_graphs": self.recorded,
            "latency_ms": self.latency_ms,
        }


def provision(bundle: Bundle, variants: Sequence[str] | None, device: OnDevice) -> list[VariantMade]:
    """Build what is not in the cache, run the golden frames, time what passes.

    Args:
        variants: None: those of the ladder until one passes, as `run` would come to it. Each of those named is made.

    Returns:
        One record a variant that was tried, in that order.

    Raises:
        EngineError: TensorRT is missing.
        MissingExtraError: pycuda is missing.
        InputError: an unknown variant, one not made for TensorRT or named twice; no folder for engines can be used.
        KeyboardInterrupt: Ctrl-C, or the watcher cancelled.
    """
    ask(_BACKEND)  # what is missing for every variant is said once
    names = ladder(bundle, _BACKEND) if variants is None else list(variants)
    for name in names:
        check_made_for(bundle, _BACKEND, name)
    if len(set(names)) != len(names):
        raise InputError(f"expected different variants, got {', '.join(names)}", mend="Name each once")
    made: list[VariantMade] = []
    for name in names:
        made.append(_made(bundle, name, device))
        if made[-1].reason:
            device.watcher.warn(made[-1].reason)
        elif variants is None:
            break
    return made


def _made(bundle: Bundle, name: str, device: OnDevice) -> VariantMade:
    try:
        opened = open_tensorrt(bundle, name, device)
    except EngineError as error:
        return VariantMade(name, (), None, str(error), recorded=False, latency_ms={})
    engines = tuple(EngineMade(one.name, one.plan_bytes, one.build_s, one.lost) for one in opened.loaded)
    with opened.engine as engine:
        try:
            check = check_golden(bundle, engine) if bundle.golden() else None
        except EngineError as error:  # it fails, or gives NaN
            return VariantMade(name, engines, None, str(error), recorded=engine.recorded, latency_ms={})
        reason = "" if check is None or check.passed else f"variant {name!r} is refused: {check.reason}"
        times = {} if reason else _timed(engine)
        return VariantMade(name, engines, check, reason, recorded=engine.recorded, latency_ms=times)


def _timed(engine: TensorRtEngine) -> dict[str, dict[str, float]]:
    image = np.random.default_rng(0).integers(0, 256, (engine.input_size, engine.input_size, 3), dtype=np.uint8)
    recorders = StageRecorders()
    for number in range(_WARM_UP + _TIMED):
        start = time.perf_counter()
        maps = engine.infer(image)
        total = 1e3 * (time.perf_counter() - start)
        if number >= _WARM_UP:
            recorders.add({"extract": maps.extract_ms, "reconstruct": maps.reconstruct_ms, "total": total})
    return recorders.summary()

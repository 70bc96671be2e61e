"""Engines of a bundle made ready on this device before a part waits for them: built, checked, timed.

Knows the order of variants and what is reported. Does not know how an engine is built or kept.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diffad_runtime.bundle import Bundle
from diffad_runtime.cuda.gpu import open_gpu
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.enginecache.ranking import keep_ranking
from diffad_runtime.engines.choice import ask, ladder
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.select import check_made_for
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import DiffadError, EngineError, GateError, InputError
from diffad_runtime.latency import StageRecorders
from diffad_runtime.selfcheck import GoldenCheck, check_golden
from diffad_runtime.tensorrt.library import load_tensorrt
from diffad_runtime.tensorrt.opening import Loaded, device_facts, open_tensorrt

_WARM_UP, _TIMED = 10, 50
_BACKEND = "tensorrt"


@dataclass(frozen=True, slots=True)
class VariantMade:
    """One variant on this device.

    Attributes:
        variant: its name.
        engines: both networks; none where it could not be made.
        check: what the golden frames said; None where there was nothing to run.
        reason, mend: why it must not be used and what to do about it; "" where it may.
        recorded: launched as CUDA graphs.
        latency_ms: {"extract", "reconstruct", "total": {"p50", "p95", "p99"}}: GPU times of both networks, and the
            call from an image of the input size to the map. {} where it was not timed.
    """

    variant: str
    engines: tuple[Loaded, ...]
    check: GoldenCheck | None
    reason: str
    mend: str
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
            "mend": self.mend,
            "engines": [asdict(one) for one in self.engines],
            "golden": None if self.check is None else self.check.to_dict(),
            "cuda_graphs": self.recorded,
            "latency_ms": self.latency_ms,
        }


def provision(
    bundle: Bundle, variants: Sequence[str] | None, device: OnDevice, *, fastest: bool = False
) -> list[VariantMade]:
    """Build what is not in the cache, run the golden frames, time what passes.

    Args:
        variants: None: those of the ladder until one passes, as `run` would come to it. Each of those named is made.
        fastest: make all (or those named), time them in one interleaved run, and write the order down: `run` follows
            it from then on.

    Returns:
        One record a variant that was tried, in that order.

    Raises:
        EngineError: TensorRT or a GPU is missing.
        MissingExtraError: pycuda is missing.
        InputError: an unknown variant, one not made for TensorRT or named twice; no folder for engines can be used.
        KeyboardInterrupt: Ctrl-C, or the watcher cancelled.
    """
    ask(_BACKEND)  # what is missing for every variant is said once
    names = ladder(bundle, _BACKEND) if variants is None else list(variants)
    if not names:
        raise InputError("no variant is named", mend="Name one with --variant, or leave it out")
    for name in names:
        check_made_for(bundle, _BACKEND, name)
    if len(set(names)) != len(names):
        raise InputError(f"expected different variants, got {', '.join(names)}", mend="Name each once")
    made: list[VariantMade] = []
    with ExitStack() as engines:
        ready: dict[str, TensorRtEngine] = {}
        for name in names:
            one, engine = _made(bundle, name, device)
            made.append(one)
            if engine is None:
                if len(names) > 1:
                    device.watcher.warn(f"{one.reason}. {one.mend}.")
                continue
            ready[name] = engines.enter_context(engine)
            if variants is None and not fastest:
                break
        times, failed = _timed(ready)
    for error in failed.values():
        device.watcher.warn(f"{error.what}. {error.mend}.")
    made = [_with_times(one, times, failed) for one in made]
    if fastest and times:
        _rank(bundle, device, {name: stages["total"]["p50"] for name, stages in times.items()})
    return made


def _made(bundle: Bundle, name: str, device: OnDevice) -> tuple[VariantMade, TensorRtEngine | None]:
    """The record, and the engine where it may be used."""
    try:
        opened = open_tensorrt(bundle, name, device)
    except EngineError as error:
        return VariantMade(name, (), None, error.what, error.mend, recorded=False, latency_ms={}), None
    engine, check = opened.engine, None
    fault: DiffadError | None = None
    try:
        check = check_golden(bundle, engine) if bundle.has_golden else None
        if check is not None:
            check.require()
    except (EngineError, GateError) as error:  # it fails, gives NaN, or judges otherwise
        fault = error
    except BaseException:
        engine.close()
        raise
    what, mend = (fault.what, fault.mend) if fault else ("", "")
    made = VariantMade(name, opened.loaded, check, what, mend, recorded=engine.recorded, latency_ms={})
    if fault is not None:
        engine.close()
        return made, None
    return made, engine


Times = dict[str, dict[str, dict[str, float]]]


def _timed(engines: Mapping[str, TensorRtEngine]) -> tuple[Times, dict[str, EngineError]]:
    """One frame with each in turn, so that a board that warms up slows all of them; and those that failed meanwhile."""
    recorders = {name: StageRecorders() for name in engines}
    failed: dict[str, EngineError] = {}
    for number in range(_WARM_UP + _TIMED):
        for name, engine in engines.items():
            if name in failed:
                continue
            image = np.random.default_rng(number).integers(0, 256, (engine.input_size,) * 2 + (3,), dtype=np.uint8)
            start = time.perf_counter()
            try:
                maps = engine.infer(image)
            except EngineError as error:
                failed[name] = EngineError(error.what, mend=error.mend)
                continue
            total = 1e3 * (time.perf_counter() - start)
            if number >= _WARM_UP:
                stages = {"extract": maps.extract_ms, "reconstruct": maps.reconstruct_ms, "total": total}
                recorders[name].add(stages)
    return {name: one.summary() for name, one in recorders.items() if name not in failed}, failed


def _with_times(one: VariantMade, times: Times, failed: Mapping[str, EngineError]) -> VariantMade:
    if one.variant in failed:
        return replace(one, reason=failed[one.variant].what, mend=failed[one.variant].mend)
    return replace(one, latency_ms=times.get(one.variant, {}))


def _rank(bundle: Bundle, device: OnDevice, p50_ms: dict[str, float]) -> None:
    facts = device_facts(load_tensorrt(), open_gpu())
    try:
        kept = keep_ranking(device.cache or cache_folder(), bundle.digest, facts, p50_ms)
    except InputError as error:
        device.watcher.warn(f"the order of variants could not be kept, 'run' goes on by precision: {error}")
        return
    device.watcher.note(f"fastest here: {', '.join(kept.p50_ms)}; 'run' tries them in this order")

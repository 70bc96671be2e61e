"""Does this machine judge with a bundle as torch did? Asked before the bundle may be tried on parts.

Knows startup.start, and that the engine is closed again; engines that were built stay in the cache for the run. Does
not know generations.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.startup import start


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A bundle that passed.

    Attributes:
        backend, variant: that will judge.
        frames: golden frames that were judged as torch judged them; 0: the bundle has none, so this was not checked.
        refused: (variant, backend, reason) of those that were tried before.
        seconds: that it took, building included.
    """

    backend: str
    variant: str
    frames: int
    refused: tuple[tuple[str, str, str], ...]
    seconds: float


Test = Callable[[Bundle], SelfTest]
"""What `install` asks of a bundle; it raises a DiffadError where the bundle does not do."""


def self_test(
    bundle: Bundle,
    backend: str = "auto",
    variant: str | None = None,
    threads: int | None = None,
    *,
    device: OnDevice | None = None,
) -> SelfTest:
    """Build the engine, run the golden frames, close it.

    Args:
        bundle, backend, variant, threads, device: as startup.start; those that `run` will use.

    Raises:
        GateError, EngineError, MissingExtraError, InputError, BundleError: as startup.start.
    """
    began = time.monotonic()
    started = start(bundle, backend, variant, threads, device=device)
    with started.engine as engine:
        frames = 0 if started.check is None else len(started.check.names)
        return SelfTest(engine.backend, engine.variant, frames, started.refused, time.monotonic() - began)

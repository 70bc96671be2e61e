"""What an engine that is built on the device is told, and who is told how that goes.

Knows options and callbacks. Does not know any inference library, nor a terminal.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger("diffad_runtime")


def _nobody(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who follows work that takes its time.

    Attributes:
        note: is told lines for the operator: what is used, and why. By default the log at level INFO.
        warn: is told what had to be given up: an engine, a variant, a folder. By default the log at level WARNING,
            which Python prints unless it is told otherwise.
        progress: is told (what, done, total) while something is built.
        cancelled: asked often; True ends a build.
    """

    note: Callable[[str], None] = _log.info
    warn: Callable[[str], None] = _log.warning
    progress: Callable[[str, int, int], None] = _nobody
    cancelled: Callable[[], bool] = bool  # bool() is False


@dataclass(frozen=True, slots=True)
class OnDevice:
    """How engines are built and kept.

    Attributes:
        cache: folder of engines; None: the user's cache folder.
        optimisation_level, workspace_mb: see tensorrt/building.py; None: decided there.
        rebuild: do not take what lies in the cache.
        watcher: is told.
    """

    cache: Path | None = None
    optimisation_level: int | None = None
    workspace_mb: int | None = None
    rebuild: bool = False
    watcher: Watcher = field(default_factory=Watcher)

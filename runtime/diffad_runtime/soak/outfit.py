"""What a soak runs with: sinks as on a line, small enough to turn over many times, and a watch over the picture.

Knows which sinks. Does not know what is soaked.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

from diffad_runtime.archive.sink import ImageArchive
from diffad_runtime.attendance import PictureWatch
from diffad_runtime.chaos import ChaosConfig, ChaosPlan
from diffad_runtime.errors import InputError, SourceError
from diffad_runtime.health.camera import CameraHealth
from diffad_runtime.health.reference import learn
from diffad_runtime.inspector import Inspector
from diffad_runtime.sinks import JsonlSink
from diffad_runtime.sinks.linefile import Rotation
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.snapshot import Snapshot
from diffad_runtime.soak.report import SoakReport
from diffad_runtime.soak.session import SoakPlan, soak

DEFAULT = {"seed": "7", "fps": "30", "size": "256", "faults": "all", "every": "12", "length": "8"}
_LOOK_S = 0.25  # between two looks at the picture
_LOOKS = 5  # that a fault of the picture takes to be one: the median of nine


def plan_for(seconds: float, camera: str | None, parts_per_second: float, deadline_ms: float) -> SoakPlan:
    """A plan with thresholds that go with `soak_with_sinks`.

    Args:
        seconds: how long.
        camera: chaos://...; None: all faults.
        parts_per_second, deadline_ms: of the line.

    Raises:
        SourceError: not a chaos:// URI, or a bad one.
        InputError: a figure out of range.
    """
    uri = camera or f"chaos://?{urlencode(DEFAULT)}"
    if not uri.startswith("chaos://"):
        raise SourceError(f"{uri!r} is not chaos://", mend="Spoil another source with chaos://?over=URI")
    ChaosConfig.from_uri(uri)
    if not (0 < parts_per_second <= 1000 and 0 < deadline_ms <= 3_600_000):
        raise InputError(
            f"{parts_per_second} parts a second with a deadline of {deadline_ms} ms", mend="Give figures above 0"
        )
    looks_s = _LOOKS * max(_LOOK_S, 1 / parts_per_second) * 2
    return SoakPlan(seconds, uri=uri, parts_per_second=parts_per_second, deadline_ms=deadline_ms, setup_s=looks_s)


def soak_with_sinks(
    inspector: Inspector,
    plan: SoakPlan,
    folder: Path | None = None,
    *,
    on_look: Callable[[float, Snapshot], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> SoakReport:
    """A soak with results, an archive of 50 MB, and a reference picture learned from what the camera shows unspoilt.

    Args:
        inspector, plan, on_look, stop: as `soak`.
        folder: gets results/ and archive/; None: a temporary one.

    Raises:
        InputError: a folder that cannot be written to.
    """
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diffad-soak-")))
        camera = CameraHealth(learn(_unspoilt(plan)), period_s=_LOOK_S)
        rotation = Rotation(max_bytes=4 << 20, every=timedelta(minutes=5), keep=Retention(max_bytes=16 << 20))
        archive = ImageArchive(root / "archive", keep_ok=50, retention=Retention(max_bytes=50 << 20))
        sinks = [archive, JsonlSink(root / "results" / "results.jsonl", rotation=rotation), PictureWatch(camera)]
        return soak(inspector, plan, sinks, setup=[camera.faults], on_look=on_look, stop=stop)


def _unspoilt(plan: SoakPlan) -> list:  # type: ignore[type-arg]
    """Pictures of the chaos camera without its faults."""
    config = ChaosPlan.from_uri(plan.uri).config
    calm = ChaosPlan(config.model_copy(update={"faults": "none", "script": ""}), uri=plan.uri)
    with calm.open() as camera:
        return [next(camera).image for _ in range(max(8, config.pictures))]

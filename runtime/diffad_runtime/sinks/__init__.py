"""Where results go: masks, JSON lines, overlays, raw maps, a function. Each kind has its own file over `base.Sink`.

The image archive is a sink as well, with a room of its own: archive/.
"""

from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.callback import CallbackSink
from diffad_runtime.sinks.jsonl import JsonlSink
from diffad_runtime.sinks.linefile import Rotation
from diffad_runtime.sinks.masks import MaskSink
from diffad_runtime.sinks.opening import open_overlay
from diffad_runtime.sinks.overlay import OverlayPictures, OverlayVideo, draw_overlay
from diffad_runtime.sinks.raw import RawSink
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.segments import OverlaySegments
from diffad_runtime.sinks.status import SinkStatus

__all__ = [
    "CallbackSink",
    "JsonlSink",
    "MaskSink",
    "OverlayPictures",
    "OverlaySegments",
    "OverlayVideo",
    "RawSink",
    "Retention",
    "Rotation",
    "Sink",
    "SinkStatus",
    "draw_overlay",
    "open_overlay",
]
